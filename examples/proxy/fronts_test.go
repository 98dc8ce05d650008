//go:build interop

package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh/boshtest"
	"github.com/gobosh/bosh/internal/demo"
)

// A front is a program in front of the proxy, with a configuration in which
// %[1]s is its address, %[2]s the proxy's, and %[3]s a directory.
type front struct {
	config  string
	command []string // its first argument is a file name, and %[4]s stands for the configuration's
	rfc7239 bool
}

const nginx = `
daemon off;
worker_processes 1;
pid %%[3]s/nginx.pid;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path %%[3]s/body; proxy_temp_path %%[3]s/proxy; fastcgi_temp_path %%[3]s/fastcgi; uwsgi_temp_path %%[3]s/uwsgi; scgi_temp_path %%[3]s/scgi;
	map $remote_addr $proxy_forwarded_elem { ~^[0-9.]+$ "for=$remote_addr"; ~^[0-9A-Fa-f:.]+$ "for=\"[$remote_addr]\""; default "for=unknown"; }
	server {
		listen %%[1]s;
		location / {
			proxy_pass http://%%[2]s;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			%s
		}
	}
}
`

var fronts = map[string]front{
	"nginx, as in the README":  {config: fmt.Sprintf(nginx, "proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;"), command: []string{"nginx", "-p", "%[3]s", "-c", "%[4]s"}},
	"nginx, appending":         {config: fmt.Sprintf(nginx, "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"), command: []string{"nginx", "-p", "%[3]s", "-c", "%[4]s"}},
	"nginx, appending 7239":    {config: fmt.Sprintf(nginx, `proxy_set_header Forwarded "$http_forwarded, $proxy_forwarded_elem";`), command: []string{"nginx", "-p", "%[3]s", "-c", "%[4]s"}, rfc7239: true},
	"Caddy":                    {config: "{\nadmin off\n}\nhttp://%[1]s {\nreverse_proxy %[2]s\n}\n", command: []string{"caddy", "run", "--adapter", "caddyfile", "--config", "%[4]s"}},
	"Caddy, trusting everyone": {config: "{\nadmin off\n}\nhttp://%[1]s {\nreverse_proxy %[2]s {\ntrusted_proxies 127.0.0.0/8\n}\n}\n", command: []string{"caddy", "run", "--adapter", "caddyfile", "--config", "%[4]s"}},
	"HAProxy": {config: "defaults\n mode http\n timeout connect 5s\n timeout client 90s\n timeout server 90s\nfrontend f\n bind %[1]s\n option forwardfor\n default_backend b\nbackend b\n server s %[2]s\n",
		command: []string{"haproxy", "-db", "-f", "%[4]s"}},
	"HAProxy, 7239": {config: "defaults\n mode http\n timeout connect 5s\n timeout client 90s\n timeout server 90s\nfrontend f\n bind %[1]s\n http-request add-header Forwarded \"for=%%[src];host=\\\"%%[req.hdr(host)]\\\"\"\n default_backend b\nbackend b\n server s %[2]s\n",
		command: []string{"haproxy", "-db", "-f", "%[4]s"}, rfc7239: true},
}

// start starts the program in front of a proxy, and returns its address.
func (f front) start(t *testing.T, proxy string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755)) // workers may be somebody else
	addr, file := demo.FreeAddr(), filepath.Join(dir, "config")
	fill := func(s string) string { return fmt.Sprintf(s+"%.0[1]s%.0[2]s%.0[3]s%.0[4]s", addr, proxy, dir, file) }
	require.NoError(t, os.WriteFile(file, []byte(fill(f.config)), 0o644))
	var args []string
	for _, a := range f.command[1:] {
		args = append(args, fill(a))
	}
	cmd := exec.Command(f.command[0], args...)
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	startProcess(t, cmd, new(buffer)).accepting(t, addr)
	return addr
}

// Behind the fronts of operators, the XMPP server sees a client as itself, and never as one
// of the trusted network.
func TestFronts(t *testing.T) {
	for name, f := range fronts {
		t.Run(name, func(t *testing.T) {
			sources := make(chan netip.Addr, 1)
			server := serverAt(t, func(c net.Conn) {
				sources <- readProxyHeader(t, c)
				if _, err := expect(c, "xml:lang='en'>"); err == nil {
					io.WriteString(c, header+"<stream:features>"+plain+"</stream:features>")
					expect(c, streamEnd)
					io.WriteString(c, streamEnd)
				}
			})
			args := []string{"-upstream", server.String(), "-tls", "none", "-trust", "127.0.0.1", "-proxy-protocol"}
			if f.rfc7239 {
				args = append(args, "-forwarded")
			}
			w, _, _ := started(t, args...)
			addr := f.start(t, w.public.Addr().String())
			transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext(ctx, network, addr)
			}}
			defer transport.CloseIdleConnections()
			for _, said := range liars {
				c, err := boshtest.Dial(t.Context(), boshtest.Config{URL: "http://" + addr + "/http-bind", To: "example.org", XMPP: true, Transport: transport, Header: said})
				require.NoError(t, err, "%v", said)
				source := (<-sources).String()
				if _, tricky := said["Connection"]; !tricky {
					assert.Equal(t, "127.0.0.2", source, "%v", said)
				}
				assert.Contains(t, []string{"127.0.0.2", nobody.Addr().String()}, source, "%v", said)
				require.NoError(t, c.Terminate(t.Context()))
				c.Close()
			}
		})
	}
}

// readProxyHeader returns the source in the header of the PROXY protocol.
func readProxyHeader(t *testing.T, c net.Conn) netip.Addr {
	t.Helper()
	head := make([]byte, len(proxySignature)+4)
	_, err := io.ReadFull(c, head)
	if !assert.NoError(t, err) || !assert.Equal(t, byte(proxyProxy), head[12]) {
		return netip.Addr{}
	}
	rest := make([]byte, binary.BigEndian.Uint16(head[14:]))
	_, err = io.ReadFull(c, rest)
	assert.NoError(t, err)
	size := map[byte]int{proxyTCP4: 4, proxyTCP6: 16}[head[13]]
	a, _ := netip.AddrFromSlice(rest[:size])
	return a.Unmap()
}
