package direct

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gobosh/bosh/internal/httpio"
	"github.com/stretchr/testify/require"
)

// A keyUpdater writes the records of a TLS 1.3 connection by itself, since
// crypto/tls does not ask for new keys.
type keyUpdater struct {
	secret []byte // of the client
	seq    uint64
}

// expand is HKDF-Expand-Label of RFC 8446, section 7.1.
func expand(secret []byte, label string, n int) []byte {
	label = "tls13 " + label
	info := append([]byte{byte(n >> 8), byte(n), byte(len(label))}, label...)
	key, err := hkdf.Expand(sha256.New, secret, string(append(info, 0)), n)
	if err != nil {
		panic(err)
	}
	return key
}

// seal returns a record with what is in text, whose last byte is its type.
func (k *keyUpdater) seal(text string) []byte {
	block, err := aes.NewCipher(expand(k.secret, "key", 16))
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	nonce := expand(k.secret, "iv", 12)
	for i, b := range binary.BigEndian.AppendUint64(nil, k.seq) {
		nonce[4+i] ^= b
	}
	k.seq++
	head := []byte{23, 3, 3, 0, byte(len(text) + 16)}
	return aead.Seal(head, nonce, []byte(text), head)
}

// update asks for new keys, and has new ones itself.
func (k *keyUpdater) update() []byte {
	b := k.seal("\x18\x00\x00\x01\x01\x16")
	k.secret, k.seq = expand(k.secret, "traffic upd", 32), 0
	return b
}

// A client that asks for new keys again and again in the middle of a request, and
// reads nothing, has as long as for a request.
func TestKeyUpdates(t *testing.T) {
	s := newSite(t, true, func(s *site) {
		s.e.Writing, s.e.Reading = httpio.NewLimit(500*time.Millisecond, 0), httpio.NewLimit(3*time.Second, 0)
	})
	raw, err := net.Dial("tcp", s.Listener.Addr().String())
	require.NoError(t, err)
	defer raw.Close()
	require.NoError(t, raw.(*net.TCPConn).SetReadBuffer(64<<10))
	var log strings.Builder
	client := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, KeyLogWriter: &log})
	v := &visitor{Conn: client, t: t, r: bufio.NewReader(client)}
	v.says(post("echo hello"))
	v.hears("hello")
	if client.ConnectionState().CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
		t.Skip("another cipher suite")
	}
	k := &keyUpdater{seq: 2} // two requests have gone out
	for line := range strings.Lines(log.String()) {
		if f := strings.Fields(line); f[0] == "CLIENT_TRAFFIC_SECRET_0" {
			k.secret, err = hex.DecodeString(f[2])
			require.NoError(t, err)
		}
	}
	v.says(post(large[:1<<19])[:100]) // the rest comes byte by byte
	c := s.theConn()
	require.NoError(t, c.rwc.(*tls.Conn).NetConn().(*net.TCPConn).SetWriteBuffer(16<<10))
	for err == nil {
		var b []byte
		for range 16 { // more of them without data crypto/tls does not take
			b = append(b, k.update()...)
		}
		raw.SetWriteDeadline(time.Now().Add(20 * time.Second))
		_, err = raw.Write(append(b, k.seal("x\x17")...))
	}
	require.False(t, isTimeout(err), "it must be cut off: %v", err)
	s.until("the end", func() bool { return s.e.Conns() == 0 })
}
