package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gobosh/bosh/boshtest"
	_ "github.com/gobosh/bosh/internal/enginetest"
	"github.com/gobosh/bosh/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// A chat is the whole program under test.
type chat struct {
	http, https, c2s string // where it is
	stop             func() error
}

// startChat runs the program on ports of its own until the test ends.
func startChat(t testing.TB, args ...string) *chat {
	t.Helper()
	cfg, err := parse(append([]string{"-http", "127.0.0.1:0", "-https", "127.0.0.1:0", "-c2s", "127.0.0.1:0"}, args...), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := run(ctx, cfg, w)
		w.Close()
		done <- err
	}()
	c := &chat{stop: func() error {
		cancel()
		err := <-done
		done <- err
		return err
	}}
	t.Cleanup(func() {
		if err := c.stop(); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	lines := bufio.NewScanner(r)
	for lines.Scan() && !strings.Contains(lines.Text(), "accounts:") {
		fields := strings.Fields(lines.Text())
		switch {
		case strings.HasPrefix(lines.Text(), "chat: open http://"):
			c.http = fields[2]
		case strings.HasPrefix(lines.Text(), "chat: open https://"):
			c.https = fields[2]
		case strings.HasPrefix(lines.Text(), "chat: XMPP over TCP at "):
			c.c2s = strings.TrimSuffix(fields[5], ",")
		}
	}
	go io.Copy(io.Discard, r)
	if c.http == "" || c.https == "" || c.c2s == "" {
		t.Fatalf("did not start: %+v, %v", c, c.stop())
	}
	return c
}

func TestPage(t *testing.T) {
	c := startChat(t)
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get(c.http)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK || !strings.Contains(string(text), "<html") {
		t.Errorf("got %s: %s", resp.Status, text)
	}
}

// Fronts that take a prefix off, and leave too many slashes: none of the
// program's answers leads anywhere else.
func TestFront(t *testing.T) {
	c := startChat(t)
	target, err := url.Parse(c.http)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	for _, slashes := range []string{"/", "//", "///"} {
		front := httptest.NewServer(&httputil.ReverseProxy{Transport: tr, Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host
			r.Out.URL.Path = slashes + strings.TrimPrefix(r.In.URL.Path, "/talk/")
		}})
		client := &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		for path, want := range map[string]string{
			"": "<html", "app.js": "import", "bosh.js": "class Bosh", "http-bind": "BOSH endpoint", "http-bind/": "BOSH endpoint", "http-bind//": "BOSH endpoint",
		} {
			resp, err := client.Get(front.URL + "/talk/" + path)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(text), want) {
				t.Errorf("%s, %s: %s, %v, no %q", slashes, path, resp.Status, err, want)
			}
		}
		guest := dialBOSH(t, boshtest.Config{URL: front.URL + "/talk/http-bind", Transport: tr})
		guest.login("", "", "desk")
		if err := guest.transport.(*overBOSH).Terminate(t.Context()); err != nil {
			t.Error(err)
		}
		front.Close()
	}
}

// What is printed can be opened, also if the program listens on all addresses,
// and its certificate is for all of them.
func TestPrintedAddresses(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", ":0", "0.0.0.0:0"} {
		var out bytes.Buffer
		cfg, err := parse([]string{"-http", listen, "-https", listen, "-c2s", ""}, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		srv := newTestServer(t)
		web, err := newWeb(cfg, srv)
		if err != nil {
			t.Fatal(err)
		}
		web.serve(make(chan error, 2))
		greet(&out, cfg, srv, web, nil)
		urls := regexp.MustCompile(`open (https?://\S+/)  \(`).FindAllStringSubmatch(out.String(), -1)
		if len(urls) < 2 {
			t.Errorf("%s: it says\n%s", listen, &out)
		}
		for _, m := range urls {
			cert, err := x509.ParseCertificate(web.doors[1].server.TLSConfig.Certificates[0].Certificate[0])
			if err != nil {
				t.Fatal(err)
			}
			pool := x509.NewCertPool()
			pool.AddCert(cert)
			tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
			resp, err := (&http.Client{Transport: tr}).Get(m[1])
			if err != nil {
				t.Errorf("%s: %v", listen, err)
				continue
			}
			resp.Body.Close()
			tr.CloseIdleConnections()
			// Where passwords cannot be given, that is said.
			host := resp.Request.URL.Hostname()
			plain := resp.Request.URL.Scheme == "http" && host != "localhost" && host != "127.0.0.1"
			line := out.String()[strings.Index(out.String(), m[1]):]
			if line, _, _ = strings.Cut(line, "\n"); plain != strings.Contains(line, "HTTPS for passwords") {
				t.Errorf("it says %s", line)
			}
		}
		web.close()
	}
}

// The page asks its server for the domain.
func TestAbout(t *testing.T) {
	c := startChat(t, "-domain", "chat.example", "-anonymous=false")
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get(c.http + "about.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, port, _ := net.SplitHostPort(strings.Trim(strings.TrimPrefix(c.https, "https:"), "/"))
	want := `{"domain":"chat.example","guests":false,"insecure":false,"https":"` + port + `"}`
	if text, err := io.ReadAll(resp.Body); err != nil || string(text) != want {
		t.Errorf("got %s, %v; want %s", text, err, want)
	}
}

func TestHostMeta(t *testing.T) {
	c := startChat(t)
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get(c.https + ".well-known/host-meta.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	want := strings.Replace(c.https, "127.0.0.1", "localhost", 1) + "http-bind"
	if resp.StatusCode != http.StatusOK || !strings.Contains(string(text), want) {
		t.Errorf("got %s: %s; want a link to %s", resp.Status, text, want)
	}
}

func TestPortTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, port := range []string{"-http", "-https", "-c2s"} {
		cfg, err := parse([]string{"-http", "127.0.0.1:0", "-https", "127.0.0.1:0", "-c2s", "127.0.0.1:0", port, ln.Addr().String()}, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if err := run(context.Background(), cfg, io.Discard); err == nil || !strings.Contains(err.Error(), ln.Addr().String()) {
			t.Errorf("%s: got %v", port, err)
		}
	}
}

func TestFlags(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"-user", "carol"}, "name:password"},
		{[]string{"-user", "carol:"}, "name:password"},
		{[]string{"-user", "c@d:x"}, "c@d"},
		{[]string{"-user", "carol:x", "-user", "CAROL:y"}, "twice"},
		{[]string{"-domain", "a b"}, "domain"},
		{[]string{"-cert", "nowhere.pem"}, "no such file"},
	} {
		cfg, err := parse(append([]string{"-http", "127.0.0.1:0", "-https", "127.0.0.1:0", "-c2s", ""}, tt.args...), io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if err := run(context.Background(), cfg, io.Discard); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: got %v", tt.args, err)
		}
	}
	if _, err := parse([]string{"extra"}, io.Discard); err == nil {
		t.Error("an argument is taken")
	}
}

// TestDirect has a page and BOSH share a connection, on which a request comes
// behind one that is held, and is taken in at once.
func TestDirect(t *testing.T) {
	c := startChat(t, "-direct")
	conn, err := net.Dial("tcp", strings.Trim(strings.TrimPrefix(c.http, "http:"), "/"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	answers := bufio.NewReader(conn)
	send := func(line, body string) {
		fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", line, len(body), body)
	}
	answer := func(want string) string {
		t.Helper()
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil || !strings.Contains(string(text), want) {
			t.Fatalf("got %s: %s, %v; want %s", resp.Status, text, err, want)
		}
		return string(text)
	}

	const ns = " xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh'"
	send("GET /", "")
	answer("<html")
	send("POST /http-bind", "<body rid='7' to='localhost' hold='1' wait='60' ver='1.6' xmpp:version='1.0'"+ns+"/>")
	_, sid, _ := strings.Cut(answer("sid='"), "sid='")
	sid, _, _ = strings.Cut(sid, "'")
	send("POST /http-bind", "<body rid='8' sid='"+sid+"'"+ns+"/>")
	send("POST /http-bind", "<body rid='9' sid='"+sid+"'"+ns+"><auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'/></body>")
	answer("<success") // to the first, as the second has come while it was held
	send("POST /http-bind", "<body rid='10' sid='"+sid+"' type='terminate'"+ns+"/>")
	answer("terminate")
	answer("<body")
	send("GET /", "")
	answer("<html")
}
