package main

import (
	"bytes"
	"crypto/tls"
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A renewed certificate is taken without a restart. A bad one is not.
func TestKeyPair(t *testing.T) {
	ca := newAuthority(t)
	dir := t.TempDir()
	age := 0
	renew := func(cert, key []byte) {
		age++
		for _, name := range []string{writeFile(t, dir, "cert.pem", cert), writeFile(t, dir, "key.pem", key)} {
			at := time.Unix(int64(age), 0)
			require.NoError(t, os.Chtimes(name, at, at))
		}
	}
	renew(ca.issue(t, "a.example"))
	k := &keyPair{certFile: dir + "/cert.pem", keyFile: dir + "/key.pem", log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	require.NoError(t, k.load())
	name := func() string {
		cert, err := k.get(&tls.ClientHelloInfo{})
		require.NoError(t, err)
		return cert.Leaf.Subject.CommonName
	}
	assert.Equal(t, "a.example", name())
	renew(ca.issue(t, "b.example"))
	assert.Equal(t, "a.example", name(), "looked at the files too soon")
	k.checked = time.Time{}
	assert.Equal(t, "b.example", name())

	renew([]byte("no certificate"), nil)
	k.checked = time.Time{}
	var said bytes.Buffer
	k.log = slog.New(slog.NewTextHandler(&said, nil))
	assert.Equal(t, "b.example", name())
	assert.Contains(t, said.String(), "not renewed")

	require.Error(t, (&keyPair{certFile: dir + "/none.pem", keyFile: dir + "/none.pem"}).load())
}
