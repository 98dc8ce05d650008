package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestHosts(t *testing.T) {
	h := adminHosts("proxy.internal:5281", []string{"Metrics.Example.", "münchen.de", "a_b"})
	for host, want := range map[string]bool{
		"127.0.0.1:5281": true, "127.0.0.1": true, "[::1]:5281": true, "[::1]": true, "192.0.2.7:5281": true,
		"localhost:5281": true, "localhost": true, "LOCALHOST.": true, "a.localhost:1": true, "proxy.internal:5281": true, "PROXY.internal": true,
		"metrics.example:80": true, "metrics.example.": true, "xn--mnchen-3ya.de": true, "a_b:1": true, "": true,
		"evil.example:5281": false, "evil.example": false, "localhost.evil.example": false, "evillocalhost": false, "127.0.0.1.evil.example": false,
		"proxy.internal.evil.example": false, "127.0.0.1@evil.example": false, "0x7f.1": false, ":5281": false, "[evil.example]:5281": false,
	} {
		assert.Equal(t, want, h.allow(host), host)
	}
	assert.False(t, adminHosts(":5281", nil).allow("evil.example"))
	assert.False(t, adminHosts("0.0.0.0:5281", nil).allow("evil.example"))
}

// A page whose name has been pointed here reads nothing, and ends nothing.
func TestRebinding(t *testing.T) {
	w, _, _ := started(t, "-upstream", "127.0.0.1:1", "-admin-host", "ops.example")
	addr := w.admin.Addr().String()
	for host, want := range map[string]int{"evil.example": 421, "evil.example:5281": 421, "ops.example:5281": 200, addr: 200, "localhost": 200} {
		for _, path := range []string{"/metrics", "/sessions", "/sessions?format=json", "/healthz"} {
			r, err := http.NewRequest("GET", "http://"+addr+path, nil)
			require.NoError(t, err)
			r.Host = host
			resp, err := http.DefaultClient.Do(r)
			require.NoError(t, err)
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			require.NoError(t, err)
			assert.Equal(t, want, resp.StatusCode, "%s for %s", path, host)
			if want != 200 {
				assert.NotContains(t, string(body), "bosh_")
			}
		}
	}
	r, err := http.NewRequest("POST", "http://"+addr+"/sessions", strings.NewReader("id=1"))
	require.NoError(t, err)
	r.Host = "evil.example"
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "http://evil.example")
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, 421, resp.StatusCode)

	// An address in the request line is the Host that counts.
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer c.Close()
	io.WriteString(c, "GET http://evil.example/metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
	resp, err = http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	assert.Equal(t, 421, resp.StatusCode)
}

// A port that others can reach is said to be one.
func TestAdminWarning(t *testing.T) {
	for addr, want := range map[string]bool{"127.0.0.1:0": false, "[::1]:0": false, "localhost:0": false, "0.0.0.0:0": true, ":0": true} {
		_, log, stop := started(t, "-upstream", "127.0.0.1:1", "-admin", addr)
		require.NoError(t, stop())
		assert.Equal(t, want, strings.Contains(log.String(), "others than this machine can reach -admin"), addr)
	}
}
