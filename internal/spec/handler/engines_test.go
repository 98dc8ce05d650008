package handler_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// site returns what the servers of the tests below serve: BOSH, a page that
// tells what it was asked, and what hijacks its connection.
func site(t *testing.T, isDirect bool) http.Handler {
	h := WithEngine(t, bosh.Options{
		MaxBody: 4 << 10,
		Admit: func(context.Context, *http.Request, *bosh.Opening) (context.Context, error) {
			return nil, &bosh.Error{Condition: bosh.PolicyViolation}
		},
	}, isDirect)
	mux := http.NewServeMux()
	mux.Handle("/http-bind", h)
	mux.Handle("/b/{name}", h)
	mux.HandleFunc("/page", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %q %s %q %v %d %v %q %v %q\n", r.Method, r.RequestURI, r.Proto, r.Host, r.Header,
			r.ContentLength, r.TransferEncoding, body, err, r.Trailer)
	})
	mux.HandleFunc("/hijack", func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
		io.Copy(conn, rw)
	})
	return mux
}

// aHead matches the head of an answer.
var aHead = regexp.MustCompile(`HTTP/1\.[01] [0-9]{3}[^\r\n]*\r\n([^\r\n]+\r\n)*\r\n`)

// comparable returns what a server has sent with the fields of each head in
// order, and without Date.
func comparable(text []byte) string {
	return string(aHead.ReplaceAllFunc(text, func(head []byte) []byte {
		lines := strings.Split(strings.TrimSuffix(string(head), "\r\n\r\n"), "\r\n")
		fields := slices.DeleteFunc(lines[1:], func(l string) bool { return strings.HasPrefix(l, "Date: ") })
		slices.Sort(fields)
		return []byte(lines[0] + "\n" + strings.Join(fields, "\n") + "\n\n")
	}))
}

// A listener that clients of a test can connect to.
type dialer struct {
	net.Listener
	dial func(t *testing.T) net.Conn
}

func overPipe() dialer {
	l := boshtest.ListenPipe()
	return dialer{l, func(t *testing.T) net.Conn {
		c, err := l.DialContext(t.Context(), "", "")
		require.NoError(t, err)
		return c
	}}
}

// told is what a server has sent on a connection.
type told struct {
	text   string
	closed bool // by the server
}

// talk sends pieces to a server in memory, in a bubble, and returns what it
// answers.
func talk(t *testing.T, isDirect bool, pieces []string) told {
	l := overPipe()
	srv := &http.Server{Handler: site(t, isDirect), ErrorLog: log.New(io.Discard, "", 0), MaxHeaderBytes: 64 << 10}
	go srv.Serve(l)
	defer srv.Close()
	conn := l.dial(t)
	var mu sync.Mutex
	var got bytes.Buffer
	closed := false
	go func() {
		for b := make([]byte, 4<<10); ; {
			n, err := conn.Read(b)
			mu.Lock()
			got.Write(b[:n])
			closed = err != nil
			mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	go func() {
		for _, p := range pieces {
			if _, err := io.WriteString(conn, p); err != nil {
				return
			}
			synctest.Wait()
		}
	}()
	time.Sleep(time.Second) // net/http waits before it closes a connection
	mu.Lock()
	was := told{comparable(got.Bytes()), closed}
	mu.Unlock()
	conn.Close()
	synctest.Wait()
	return was
}

// bothAnswer fails the test if the engines do not answer the pieces the same.
func bothAnswer(t *testing.T, pieces ...string) (same told) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		same = talk(t, false, pieces)
		require.Equal(t, same, talk(t, true, pieces), "%q", pieces)
	})
	return same
}

// request returns a request with a body of lines and a Content-Length.
func request(line, body string, lines ...string) string {
	head := line + "\r\nHost: bosh.test\r\n"
	for _, l := range lines {
		head += l + "\r\n"
	}
	return head + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)) + body
}

const post = "POST /http-bind HTTP/1.1"

// length is a BOSH request whose Content-Length is written in some way.
func length(lines ...string) string {
	return post + "\r\nHost: bosh.test\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n" + AnyBody
}

var n = len(AnyBody)

// bomb is a small body that becomes a large one.
func bomb() string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, strings.Repeat("x", 20<<10))
	w.Close()
	return b.String()
}

// What servers quarrel over. Each is sent behind a request that has the
// connection taken over, and has another behind it.
var quarrels = map[string]string{
	"nothing special":           request(post, AnyBody),
	"more in its head":          request(post, AnyBody, "Content-Type: text/xml; charset=utf-8", "Cookie: a=b", "Accept-Encoding: gzip, br", "Keep-Alive: timeout=5"),
	"a field in each case":      request(post, AnyBody, "X-A: 1", "x-a: 2", "x_a: 3"),
	"not UTF-8":                 request(post, AnyBody, "X-A: \xff\xfe"),
	"no body":                   request(post, ""),
	"no XML":                    request(post, "<<<"),
	"compressed, it says":       request(post, AnyBody, "Content-Encoding: gzip"),
	"unknown coding":            request(post, AnyBody, "Content-Encoding: br"),
	"too large":                 request(post, strings.Repeat("x", 5<<10)),
	"too large, in question":    request(post, strings.Repeat("x", 5<<10), "Expect: 100-continue"),
	"too large, in chunks":      post + "\r\nHost: bosh.test\r\nTransfer-Encoding: chunked\r\n\r\n1400\r\n" + strings.Repeat("x", 5<<10) + "\r\n0\r\n\r\n",
	"too large when unpacked":   request(post, bomb(), "Content-Encoding: gzip"),
	"as large as may be":        request(post, strings.Repeat("x", 4<<10)),
	"smaller letters":           strings.ToLower(request(post, "")),
	"field names in lower case": fmt.Sprintf("%s\r\nhost: bosh.test\r\ncontent-length: %d\r\n\r\n%s", post, n, AnyBody),
	"field names in upper case": fmt.Sprintf("%s\r\nHOST: bosh.test\r\nCONTENT-LENGTH: %d\r\n\r\n%s", post, n, AnyBody),
	"no blanks":                 fmt.Sprintf("%s\r\nHost:bosh.test\r\nContent-Length:%d\r\n\r\n%s", post, n, AnyBody),
	"many blanks":               fmt.Sprintf("%s\r\nHost: \t bosh.test \t\r\nContent-Length:  \t%d \t \r\n\r\n%s", post, n, AnyBody),
	"length and nothing":        length("Content-Length:"),
	"no length":                 length("X-A: b"),
	"two lengths":               length(fmt.Sprint("Content-Length: ", n), "Content-Length: 3"),
	"the length twice":          length(fmt.Sprint("Content-Length: ", n), fmt.Sprint("Content-Length: ", n)),
	"a list of lengths":         length(fmt.Sprintf("Content-Length: %d, %d", n, n)),
	"length with plus":          length(fmt.Sprintf("Content-Length: +%d", n)),
	"length with minus":         length(fmt.Sprintf("Content-Length: -%d", n)),
	"length with a blank":       length("Content-Length: 1 7"),
	"length with zeros":         length(fmt.Sprintf("Content-Length: 000%d", n)),
	"length with many zeros":    length(fmt.Sprintf("Content-Length: 00000000000000000000000000%d", n)),
	"length overflows":          length("Content-Length: 99999999999999999999999"),
	"length overflows 64 bits":  length("Content-Length: 18446744073709551616"),
	"length overflows 63 bits":  length("Content-Length: 9223372036854775808"),
	"length in hex":             length("Content-Length: 0x10"),
	"length of other digits":    length("Content-Length: ٣"),
	"length, underscore":        length(fmt.Sprintf("Content_Length: %d", n)),
	"length and chunks":         length(fmt.Sprint("Content-Length: ", n), "Transfer-Encoding: chunked"),
	"chunks and length":         length("Transfer-Encoding: chunked", fmt.Sprint("Content-Length: ", n)),
	"length and unknown coding": length(fmt.Sprint("Content-Length: ", n), "Transfer-Encoding: xchunked"),
	"length and identity":       length(fmt.Sprint("Content-Length: ", n), "Transfer-Encoding: identity"),
	"length and no coding":      length(fmt.Sprint("Content-Length: ", n), "Transfer-Encoding:"),
	"coding with vertical tab":  length(fmt.Sprint("Content-Length: ", n), "Transfer-Encoding: \vchunked"),
	"coding with a blank":       length(fmt.Sprint("Content-Length: ", n), "Transfer-Encoding : chunked"),
	"chunks":                    fmt.Sprintf("%s\r\nHost: bosh.test\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", post, n, AnyBody),
	"chunks, loud":              fmt.Sprintf("%s\r\nHost: bosh.test\r\nTransfer-Encoding: Chunked\r\n\r\n%X\r\n%s\r\n0\r\n\r\n", post, n, AnyBody),
	"chunks with extensions":    fmt.Sprintf("%s\r\nHost: bosh.test\r\nTransfer-Encoding: chunked\r\n\r\n%x;a=b;c=\"d\"\r\n%s\r\n0;e\r\n\r\n", post, n, AnyBody),
	"chunks with a trailer":     fmt.Sprintf("%s\r\nHost: bosh.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n%x\r\n%s\r\n0\r\nX-T: u\r\n\r\n", post, n, AnyBody),
	"chunks, broken":            post + "\r\nHost: bosh.test\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
	"chunks, twice":             post + "\r\nHost: bosh.test\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
	"a trailer, it says":        request(post, AnyBody, "Trailer: X-T"),
	"expect":                    request(post, AnyBody, "Expect: 100-continue"),
	"expect the unknown":        request(post, AnyBody, "Expect: more"),
	"folded":                    request(post, AnyBody, "X-A: b", " c"),
	"folded by a tab":           request(post, AnyBody, "X-A: b", "\tc"),
	"folded length":             length("Content-Length:", fmt.Sprint(" ", n)),
	"folded first line":         post + "\r\n Host: bosh.test\r\n\r\n",
	"bare LF":                   strings.ReplaceAll(request(post, ""), "\r", "") + Taken,
	"one bare LF":               strings.Replace(request(post, AnyBody), "\r", "", 1),
	"bare LF at the end":        fmt.Sprintf("%s\r\nHost: bosh.test\r\nContent-Length: %d\r\n\n%s", post, n, AnyBody),
	"bare CR":                   request(post, AnyBody, "X-A: b\rc"),
	"bare CR in a name":         request(post, AnyBody, "X\rA: b"),
	"two CRs":                   request(post, AnyBody, "X-A: b\r"),
	"NUL":                       request(post, AnyBody, "X-A: b\x00c"),
	"NUL in a name":             request(post, AnyBody, "X\x00A: b"),
	"DEL":                       request(post, AnyBody, "X-A: b\x7fc"),
	"space before the colon":    request(post, AnyBody, "X-A : b"),
	"no colon":                  request(post, AnyBody, "X-A"),
	"no name":                   request(post, AnyBody, ": b"),
	"name no token":             request(post, AnyBody, "X(A): b"),
	"name not ASCII":            request(post, AnyBody, "X-Ä: b"),
	"absolute target":           request("POST http://bosh.test/http-bind HTTP/1.1", AnyBody),
	"absolute target elsewhere": request("POST http://other.test/http-bind HTTP/1.1", AnyBody),
	"target with a query":       request("POST /http-bind?a=b HTTP/1.1", AnyBody),
	"target with an escape":     request("POST /http%2dbind HTTP/1.1", AnyBody),
	"target with a slash":       request("POST /http-bind/ HTTP/1.1", AnyBody),
	"target with dots":          request("POST /a/../http-bind HTTP/1.1", AnyBody),
	"target without slash":      request("POST http-bind HTTP/1.1", AnyBody),
	"target not ASCII":          request("POST /http-bind\xff HTTP/1.1", AnyBody),
	"target an asterisk":        request("POST * HTTP/1.1", AnyBody),
	"target with a blank":       request("POST /http-bind /x HTTP/1.1", AnyBody),
	"no target":                 request("POST  HTTP/1.1", AnyBody),
	"tab in the line":           request("POST\t/http-bind HTTP/1.1", AnyBody),
	"blank before the line":     " " + request(post, AnyBody),
	"two blanks in the line":    request("POST  /http-bind HTTP/1.1", AnyBody),
	"blank behind the line":     request(post+" ", AnyBody),
	"another path":              request("POST /page HTTP/1.1", AnyBody),
	"a path with a value":       request("POST /b/c HTTP/1.1", AnyBody),
	"other Host":                strings.Replace(request(post, AnyBody), "bosh.test", "other.test", 1),
	"Host in capitals":          strings.Replace(request(post, AnyBody), "bosh.test", "BOSH.test", 1),
	"Host with port":            strings.Replace(request(post, AnyBody), "bosh.test", "bosh.test:80", 1),
	"Host that cannot be":       strings.Replace(request(post, AnyBody), "bosh.test", "bo sh", 1),
	"empty Host":                strings.Replace(request(post, AnyBody), "bosh.test", "", 1),
	"no Host":                   strings.Replace(request(post, AnyBody), "Host:", "X-Host:", 1),
	"two Hosts":                 request(post, AnyBody, "Host: bosh.test"),
	"two other Hosts":           request(post, AnyBody, "Host: other.test"),
	"HTTP/1.0":                  request("POST /http-bind HTTP/1.0", AnyBody),
	"HTTP/1.0, keep-alive":      request("POST /http-bind HTTP/1.0", AnyBody, "Connection: keep-alive"),
	"HTTP/1.2":                  request("POST /http-bind HTTP/1.2", AnyBody),
	"HTTP/2.0":                  request("POST /http-bind HTTP/2.0", AnyBody),
	"HTTP/1.10":                 request("POST /http-bind HTTP/1.10", AnyBody),
	"http/1.1":                  request("POST /http-bind http/1.1", AnyBody),
	"HTTP/0.9":                  "GET /page\r\n",
	"close":                     request(post, AnyBody, "Connection: close"),
	"Close":                     request(post, AnyBody, "Connection: Close"),
	"keep-alive":                request(post, AnyBody, "Connection: keep-alive"),
	"Keep-Alive":                request(post, AnyBody, "Connection: Keep-Alive"),
	"keep-alive, close":         request(post, AnyBody, "Connection: keep-alive, close"),
	"keep-alive; close":         request(post, AnyBody, "Connection: keep-alive", "Connection: close"),
	"Connection names another":  request(post, AnyBody, "Connection: X-A", "X-A: b"),
	"Connection, empty":         request(post, AnyBody, "Connection:"),
	"proxy-connection":          request(post, AnyBody, "Proxy-Connection: close"),
	"upgrade":                   request(post, AnyBody, "Connection: Upgrade", "Upgrade: websocket"),
	"upgrade to HTTP/2":         request(post, AnyBody, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
	"an empty line":             "\r\n" + request(post, AnyBody),
	"two empty lines":           "\r\n\r\n" + request(post, AnyBody),
	"three empty lines":         "\r\n\r\n\r\n" + request(post, AnyBody),
	"an empty line, bare":       "\n" + request(post, AnyBody),
	"four empty lines, bare":    "\n\n\n\n" + request(post, AnyBody),
	"five empty lines, bare":    "\n\n\n\n\n" + request(post, AnyBody),
	"CRs":                       "\r\r" + request(post, AnyBody),
	"an empty line before GET":  "\r\n" + request("GET /page HTTP/1.1", ""),
	"empty lines all through":   "\r\n" + request(post, AnyBody) + "\r\n" + request(post, AnyBody) + "\r\n\r\n" + request(post, AnyBody),
	"8 KiB of head":             request(post, AnyBody, "X-A: "+strings.Repeat("b", 8<<10)),
	"many fields":               request(post, AnyBody, slices.Repeat([]string{"X-A: b"}, 500)...),
	"more head than may be":     request(post, AnyBody, "X-A: "+strings.Repeat("b", 80<<10)),
	"1 MiB of head":             request(post, AnyBody, "X-A: "+strings.Repeat("b", 1<<20)),
	"a long target":             request("POST /http-bind?"+strings.Repeat("b", 9<<10)+" HTTP/1.1", AnyBody),
	"GET":                       "GET /http-bind HTTP/1.1\r\nHost: bosh.test\r\n\r\n",
	"GET with a body":           request("GET /page HTTP/1.1", "hello"),
	"HEAD":                      "HEAD /http-bind HTTP/1.1\r\nHost: bosh.test\r\n\r\n",
	"OPTIONS":                   "OPTIONS /http-bind HTTP/1.1\r\nHost: bosh.test\r\nOrigin: https://a.test\r\n\r\n",
	"OPTIONS *":                 "OPTIONS * HTTP/1.1\r\nHost: bosh.test\r\n\r\n",
	"PUT":                       request("PUT /http-bind HTTP/1.1", AnyBody),
	"CONNECT":                   "CONNECT bosh.test:80 HTTP/1.1\r\nHost: bosh.test\r\n\r\n",
	"TRACE":                     "TRACE /http-bind HTTP/1.1\r\nHost: bosh.test\r\n\r\n",
	"an unknown method":         request("POSTS /http-bind HTTP/1.1", AnyBody),
	"a method in small letters": request("post /http-bind HTTP/1.1", AnyBody),
	"no method":                 request(" /http-bind HTTP/1.1", AnyBody),
	"not found":                 "GET /none HTTP/1.1\r\nHost: bosh.test\r\n\r\n",
	"a mix": "GET /page HTTP/1.1\r\nHost: bosh.test\r\n\r\n" + Taken + Taken + request("POST /page HTTP/1.1", AnyBody) + Taken +
		"HEAD /page HTTP/1.1\r\nHost: bosh.test\r\n\r\n" + request("POST /b/c HTTP/1.1", AnyBody) + request("POST /b/c HTTP/1.1", AnyBody) +
		"OPTIONS /page HTTP/1.1\r\nHost: a\r\n\r\n" + Taken,
	"hijacked":        "GET /hijack HTTP/1.1\r\nHost: bosh.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello",
	"hijacked POST":   request("POST /hijack HTTP/1.1", ""),
	"HTTP/2":          "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	"TLS":             "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
	"no HTTP":         "hello\r\n\r\n",
	"half a line":     "POST /http",
	"half a head":     post + "\r\nHost: bosh",
	"half a body":     strings.TrimSuffix(request(post, AnyBody), "/>"),
	"a request in it": request(post, request(post, AnyBody)),
}

// TestEngines compares the engines by what servers quarrel over. net/http is
// right.
func TestEngines(t *testing.T) {
	for name, text := range quarrels {
		t.Run(name, func(t *testing.T) {
			bothAnswer(t, text)
			bothAnswer(t, Taken, text)
			bothAnswer(t, Taken+text+Taken)
			bothAnswer(t, Taken, text+Taken, text, "\r\n"+Taken)
			if len(text) < 2<<10 {
				bothAnswer(t, strings.Split(Taken+text+Taken, "")...)
			}
		})
	}
}

// It makes no difference how a request is cut.
func TestEnginesSplit(t *testing.T) {
	for _, text := range []string{Taken + "\r\n" + request(post, AnyBody, "X-A: b"), quarrels["chunks"], quarrels["a mix"]} {
		want := bothAnswer(t, Taken, text, Taken)
		assert.False(t, want.closed)
		for i := range len(text) {
			assert.Equal(t, want, bothAnswer(t, Taken, text[:i], text[i:], Taken))
		}
	}
}

// FuzzEngines compares the engines by whatever a client may send, in pieces of a
// size.
func FuzzEngines(f *testing.F) {
	for _, text := range quarrels {
		if len(text) < 4<<10 {
			f.Add(text, uint8(0))
			f.Add(text+Taken, uint8(7))
		}
	}
	f.Fuzz(func(t *testing.T, text string, size uint8) {
		pieces := []string{Taken + text}
		if size > 0 {
			pieces = []string{Taken}
			for rest := text; rest != ""; {
				k := min(len(rest), int(size))
				pieces = append(pieces, rest[:k])
				rest = rest[k:]
			}
		}
		bothAnswer(t, pieces...)
	})
}
