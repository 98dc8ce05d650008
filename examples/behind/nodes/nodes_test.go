//go:build interop

package nodes

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	"github.com/gobosh/bosh/internal/demo"
	_ "github.com/gobosh/bosh/internal/enginetest"
)

func echo(s *bosh.Stream) {
	for {
		el, err := s.ReadElement(context.Background())
		if err != nil || s.WriteElement(context.Background(), el) != nil {
			return
		}
	}
}

// start starts three nodes, and a program in front of them with one of the
// configurations. It returns the URL of the endpoint.
func start(t *testing.T, config string, command func(config, dir string) *exec.Cmd, more ...string) (url string, nodes map[string]*httptest.Server, handlers map[string]*bosh.Handler) {
	nodes, handlers = make(map[string]*httptest.Server), make(map[string]*bosh.Handler)
	var change []string
	for i, name := range []string{"a", "b", "c"} {
		h := bosh.New(bosh.Options{Framing: bosh.Elements, Node: name, Serve: echo, Logger: slog.New(slog.DiscardHandler)})
		s := httptest.NewServer(h)
		t.Cleanup(func() { h.Close(); s.Close() })
		nodes[name], handlers[name] = s, h
		change = append(change, fmt.Sprintf("127.0.0.1:%d", 5281+i), s.Listener.Addr().String())
	}
	addr := demo.FreeAddr()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	text, err := os.ReadFile(config)
	require.NoError(t, err)
	gone, err := os.ReadFile("gone.http")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "gone.http"), gone, 0o644))
	script, err := os.ReadFile("nodes.js")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "nodes.js"), script, 0o644))
	change = append(change, "bind :5280", "bind "+addr, "listen 5280", "listen "+addr, "DIR", dir)
	change = append(change, more...)
	for i := range change {
		change[i] = strings.ReplaceAll(change[i], "DIR", dir)
	}
	file := filepath.Join(dir, config)
	require.NoError(t, os.WriteFile(file, []byte(strings.NewReplacer(change...).Replace(string(text))), 0o644))
	cmd := command(file, dir)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Signal(syscall.SIGTERM); cmd.Wait() })
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	}, 10*time.Second, 20*time.Millisecond)
	return "http://" + addr + "/http-bind", nodes, handlers
}

func haproxy(config, _ string) *exec.Cmd { return exec.Command("haproxy", "-db", "-f", config) }
func nginx(config, dir string) *exec.Cmd {
	return exec.Command("nginx", "-p", dir, "-c", config, "-g", "daemon off;")
}

// talk has a client echo, by bodies that say the same in many ways.
func talk(t *testing.T, rt http.RoundTripper, n int) (sid string, rid int) {
	const ns = "http://jabber.org/protocol/httpbind"
	sid = boshtest.Exchange(t, rt, "<body rid='1' to='x' wait='60' hold='1' ver='1.11' xmlns='"+ns+"'/>").Attr("sid")
	for rid = 2; rid < n+2; rid++ {
		x := "<x xmlns='u'>" + strings.Repeat("x", []int{1, 300, 30_000}[rid%3]) + "</x>"
		r := boshtest.Exchange(t, rt, fmt.Sprintf([]string{
			"<body rid='%d' sid='%s' xmlns='" + ns + "'>%s</body>",
			`<body rid="%d" sid="%s" xmlns="` + ns + `">%s</body>`,
			"<?xml version='1.0'?>\n<b:body xmlns:b='" + ns + "' b='sid=1' rid='%d'\n sid='%s' >%s</b:body>",
			"<body xml:lang='en' xmlns:sid='u' rid='%d' sid = '%s' xmlns='" + ns + "'>%s</body>",
		}[rid%4], rid, sid, x))
		require.Equal(t, x, r.Payload(), "%s", r)
	}
	return sid, rid
}

// at is a transport to a URL.
type at string

func (a at) RoundTrip(r *http.Request) (*http.Response, error) {
	q, err := http.NewRequestWithContext(r.Context(), r.Method, string(a), r.Body)
	if err != nil {
		return nil, err
	}
	q.ContentLength = r.ContentLength
	return http.DefaultTransport.RoundTrip(q)
}

// ends asserts that a node that is gone is answered for as the protocol has it.
func ends(t *testing.T, rt http.RoundTripper, sid string, rid int) {
	r := boshtest.Exchange(t, rt, fmt.Sprintf("<body rid='%d' sid='%s' xmlns='http://jabber.org/protocol/httpbind'/>", rid, sid))
	assert.Equal(t, "item-not-found", r.Attr("condition"))
	assert.Equal(t, "terminate", r.Attr("type"))
	assert.Equal(t, "text/xml; charset=utf-8", r.Header.Get("Content-Type"))
	assert.Equal(t, "*", r.Header.Get("Access-Control-Allow-Origin"))
}

func TestHAProxy(t *testing.T) {
	url, nodes, handlers := start(t, "haproxy.cfg", haproxy, "maxconn 20000", "maxconn 200")
	last, rids := make(map[string]string), make(map[string]int)
	for range 30 {
		sid, rid := talk(t, at(url), 12)
		_, node, _ := strings.Cut(sid, ".")
		last[node], rids[node] = sid, rid
	}
	for name, h := range handlers {
		assert.EqualValues(t, 10, h.Stats().Sessions, name)
	}
	handlers["b"].Close()
	nodes["b"].Close()
	ends(t, at(url), last["b"], rids["b"])
	for range 4 {
		talk(t, at(url), 3)
	}
}

// With njs nginx reads the sid in the body.
func TestNginxScript(t *testing.T) {
	url, nodes, handlers := start(t, "nginx-njs.conf", nginx, "load_module modules/", "load_module /usr/lib/nginx/modules/", "/run/nginx.pid", "DIR/pid", "/var/log/nginx/error.log", "stderr",
		"access_log off;", "access_log off; client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/f; uwsgi_temp_path DIR/u; scgi_temp_path DIR/s;")
	last, rids := make(map[string]string), make(map[string]int)
	for range 30 {
		sid, rid := talk(t, at(url), 12)
		_, node, _ := strings.Cut(sid, ".")
		last[node], rids[node] = sid, rid
	}
	for name, h := range handlers {
		assert.Positive(t, h.Stats().Sessions, name)
	}
	handlers["b"].Close()
	nodes["b"].Close()
	ends(t, at(url), last["b"], rids["b"])
	ends(t, at(url), strings.TrimSuffix(last["b"], "b")+"nobody", rids["b"])
	for range 4 {
		talk(t, at(url), 3)
	}
}

func TestNginx(t *testing.T) {
	url, nodes, handlers := start(t, "nginx.conf", nginx, "/run/nginx.pid", "DIR/pid", "/var/log/nginx/error.log", "stderr",
		"access_log off;", "access_log off; client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/f; uwsgi_temp_path DIR/u; scgi_temp_path DIR/s;")
	last, rids := make(map[string]string), make(map[string]int)
	for i := range 30 {
		node := string("abc"[i%3])
		last[node], rids[node] = talk(t, at(url+"?node="+node), 12)
		assert.True(t, strings.HasSuffix(last[node], "."+node))
	}
	for name, h := range handlers {
		assert.EqualValues(t, 10, h.Stats().Sessions, name)
	}
	handlers["b"].Close()
	nodes["b"].Close()
	ends(t, at(url+"?node=b"), last["b"], rids["b"])
	talk(t, at(url+"?node=c"), 3)
}
