package direct

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gobosh/bosh/internal/reqinfo"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// aHead is a head with lines besides those that it must have.
func aHead(lines ...string) string {
	return "POST /b HTTP/1.1\r\nHost: a.test\r\n" + strings.Join(append(lines, "Content-Length: 12"), "\r\n") + "\r\n\r\n"
}

func TestParseHead(t *testing.T) {
	for name, test := range map[string]struct {
		text           string
		prefix, suffix string
	}{
		"the least": {aHead(), "POST /b HTTP/1.1\r\nHost: a.test\r\nContent-Length: ", "\r\n\r\n"},
		"length first": {"POST /b HTTP/1.1\r\ncontent-length:\t 012 \r\nhost:a.test\r\n\r\n",
			"POST /b HTTP/1.1\r\ncontent-length:\t ", " \r\nhost:a.test\r\n\r\n"},
		"keep-alive": {aHead("Connection: Keep-Alive"), "POST /b HTTP/1.1\r\nHost: a.test\r\nConnection: Keep-Alive\r\nContent-Length: ", "\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			h := parseHead([]byte(test.text))
			require.NotNil(t, h)
			assert.Equal(t, test.prefix, h.prefix)
			assert.Equal(t, test.suffix, h.suffix)
			assert.Equal(t, "/b", h.uri)
			assert.Equal(t, "a.test", h.host)
			assert.NotContains(t, h.header, "Host")
			size, length, ok := h.match([]byte(test.text + "the body"))
			assert.True(t, ok)
			assert.Equal(t, len(test.text), size)
			assert.Equal(t, 12, length)
			for i := range test.text {
				_, _, ok := h.match([]byte(test.text[:i]))
				assert.False(t, ok, "%q", test.text[:i])
			}
		})
	}
	for name, text := range map[string]string{
		"another method":       strings.Replace(aHead(), "POST", "PUT", 1),
		"another version":      strings.Replace(aHead(), "1.1", "1.0", 1),
		"no length":            strings.Replace(aHead(), "Content-", "X-", 1),
		"two lengths":          aHead("Content-Length: 12"),
		"a long length":        strings.Replace(aHead(), "12", "1234567890", 1),
		"a signed length":      strings.Replace(aHead(), "12", "+12", 1),
		"no host":              strings.Replace(aHead(), "Host", "X-Host", 1),
		"an empty host":        strings.Replace(aHead(), "a.test", "", 1),
		"two hosts":            aHead("Host: a.test"),
		"two URIs":             strings.Replace(aHead(), "/b", "/b /c", 1),
		"chunks":               aHead("Transfer-Encoding: chunked"),
		"close":                aHead("Connection: close"),
		"a list":               aHead("Connection: keep-alive, close"),
		"upgrade":              aHead("Upgrade: websocket"),
		"expect":               aHead("Expect: 100-continue"),
		"a trailer":            aHead("Trailer: X-T"),
		"folded":               aHead("X-A: b", " c"),
		"a blank in the name":  aHead("X-A : b"),
		"NUL":                  aHead("X-A: \x00"),
		"bare CR":              aHead("X-A: b\rc"),
		"bare LF":              aHead("X-A: b\nc: d"),
		"an absolute URI, bad": strings.Replace(aHead(), "/b", "http://c.test/b", 1), // its host is another
	} {
		assert.Nil(t, parseHead([]byte(text)), name)
	}
}

func TestMatch(t *testing.T) {
	h := parseHead([]byte(aHead()))
	for text, want := range map[string]int{"0": 0, "7": 7, "007": 7, "999999999": 999999999} {
		_, length, ok := h.match([]byte(strings.Replace(aHead(), "12", text, 1)))
		assert.True(t, ok, text)
		assert.Equal(t, want, length)
	}
	for _, text := range []string{"", "-1", "+1", "1 2", "1,1", "0x1", "1234567890", "٣"} {
		_, _, ok := h.match([]byte(strings.Replace(aHead(), "12", text, 1)))
		assert.False(t, ok, text)
	}
}

func TestHeads(t *testing.T) {
	var hs heads
	first := hs.get([]byte(aHead("X-A: b"))).head
	require.NotNil(t, first)
	assert.Same(t, first, hs.get([]byte(strings.Replace(aHead("X-A: b"), "12", "345", 1))).head)
	assert.Nil(t, hs.get([]byte(aHead("Connection: close"))).head)
	for i := range 3 * maxHeads {
		assert.Same(t, first, hs.get([]byte(aHead(fmt.Sprint("X-A: ", i)))).head)
	}
	for i := range 3 * maxHeads {
		for _, text := range []string{aHead(fmt.Sprintf("X-%d: ", i)), strings.Replace(aHead(), "a.test", fmt.Sprint(i), 1)} {
			require.NotNil(t, hs.get([]byte(text)).head)
			kept := 0
			for _, same := range hs.m {
				kept += len(same)
				require.LessOrEqual(t, len(same), maxOfAHost)
			}
			require.LessOrEqual(t, kept, maxHeads)
		}
	}
}

// What a head may differ in that is taken for another one.
func TestLike(t *testing.T) {
	text := aHead("X-Forwarded-For: 192.0.2.1", "Origin: https://a.test", "Content-Encoding: gzip", "traceparent:", "content-type: text/xml")
	h := parseHead([]byte(text))
	require.NotNil(t, h)
	for name, test := range map[string]struct {
		old, new string
		varied   bool
	}{
		"nothing":              {"", "", false},
		"the length":           {"12", "0345", false},
		"an address":           {"192.0.2.1", "2001:db8::1, 192.0.2.7", true},
		"no value":             {" 192.0.2.1", "", true},
		"a value in its place": {"traceparent:", "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-01", true},
		"not ASCII":            {"192.0.2.1", "\xff\t", true},
		"a query":              {"/b", "/b?", true},
		"a longer query":       {"/b", "/b?a=b&%zz#c?d", true},
		"an origin":            {"https://a.test", "https://b.test", true},
	} {
		b := strings.Replace(text, test.old, test.new, 1)
		length, varied, own, ok := h.like([]byte(b))
		assert.True(t, ok, name)
		assert.Equal(t, test.varied, varied, name)
		assert.Equal(t, parseHead([]byte(b)).read([]byte(b)).length, length, name)
		assert.Equal(t, name == "an origin", own != nil, name)
	}
	for name, change := range map[string][2]string{
		"another name":         {"X-Forwarded-For", "X-Forwarded-Fox"},
		"its case":             {"X-Forwarded-For", "x-Forwarded-For"},
		"a line more":          {"Origin", "X-A: b\r\nOrigin"},
		"a line less":          {"Origin: https://a.test\r\n", ""},
		"folded":               {"https", "\r\n https"},
		"bare LF":              {"https://a.test\r", "https://a.test"},
		"bare CR":              {"https", "a\rb"},
		"NUL":                  {"https", "\x00"},
		"another coding":       {"gzip", "br"},
		"another path":         {"/b", "/bc"},
		"a path in the query":  {"/b ", "/b ? "},
		"a blank in the query": {"/b", "/b?a b"},
		"another host":         {"Host: a.test", "Host: b.test"},
		"another method":       {"POST", "PUT"},
		"another version":      {"1.1", "1.0"},
		"no length":            {"12", ""},
		"a long length":        {"12", "1234567890"},
		"a signed length":      {"12", "-12"},
	} {
		_, _, _, ok := h.like([]byte(strings.Replace(text, change[0], change[1], 1)))
		assert.False(t, ok, name)
	}
	for i := range text {
		_, _, _, ok := h.like([]byte(text[:i]))
		assert.False(t, ok, "%q", text[:i])
	}
}

// FuzzLike compares what is read without net/http with what is read by it.
func FuzzLike(f *testing.F) {
	f.Add(aHead("X-A: b"), aHead("X-A: c"))
	f.Add(aHead("Origin: b", "origin: c"), aHead("Origin: d", "origin: "))
	f.Add(aHead("Pragma: a", "Accept-Encoding:\tgzip "), aHead("Pragma: no-cache", "Accept-Encoding: br"))
	f.Add(aHead("Cookie: a"), strings.Replace(aHead("Cookie: b"), "/b", "/b?c", 1))
	f.Fuzz(func(t *testing.T, known, text string) {
		h := parseHead([]byte(known))
		if h == nil {
			return
		}
		length, varied, own, ok := h.like([]byte(text))
		if !ok {
			return
		}
		want := parseHead([]byte(text))
		if want == nil {
			t.Fatalf("%q is taken for %q", text, known)
		}
		_, l, _ := want.match([]byte(text))
		if l != length || want.host != h.host || want.path != h.path || !slices.Equal(want.encoding, h.encoding) || len(want.header) != len(h.header) && varied == false {
			t.Fatalf("%q is taken for %q", text, known)
		}
		for _, name := range [...]string{"Origin", "Accept-Encoding"} {
			q := Request{head: h, varied: varied, own: own}
			if got := q.Header(name); !slices.Equal(got, want.header[name]) {
				t.Fatalf("%s of %q, which is taken for %q, is %q", name, text, known, got)
			}
		}
		if reqinfo.Forwarded(h.header) != reqinfo.Forwarded(want.header) {
			t.Fatalf("%q is taken for %q", text, known)
		}
	})
}

// FuzzParseHead compares what is accepted with what net/http makes of it, with a
// body and another request behind.
func FuzzParseHead(f *testing.F) {
	for _, text := range []string{
		aHead(), aHead("Connection: keep-alive"), aHead("Content-Length: 12"), aHead("Transfer-Encoding: chunked"),
		aHead("X-A: b", " c"), aHead("X-A : b"), aHead("X-A: \xff"), aHead("Cookie: a=b; c=d", "Accept-Encoding: gzip, deflate"),
		"POST /b HTTP/1.1\r\ncontent-length:\t 012 \r\nhost:a.test\r\n\r\n", strings.Replace(aHead(), "/b", "http://a.test/b?c#d", 1),
		strings.Replace(aHead(), "/b", "*", 1), strings.Replace(aHead(), "a.test", "[::1]:80", 1), strings.ReplaceAll(aHead(), "\r", ""),
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		h := parseHead([]byte(text))
		if h == nil || strings.Index(text, "\r\n\r\n") != len(text)-4 {
			return // only whole heads come here
		}
		size, length, ok := h.match([]byte(text))
		if !ok || size != len(text) || h.prefix+h.suffix == "" {
			t.Fatalf("%q is not its own head", text)
		}
		if length > 1<<16 {
			return
		}
		body := strings.Repeat("x", length)
		src := bufio.NewReader(strings.NewReader(text + body + "next"))
		r, err := http.ReadRequest(src)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		got, err := io.ReadAll(r.Body)
		if err != nil || string(got) != body {
			t.Fatalf("%q: the body is %q, %v", text, got, err)
		}
		if rest, _ := io.ReadAll(src); string(rest) != "next" {
			t.Fatalf("%q: %q is left", text, rest)
		}
		if r.Method != http.MethodPost || r.Close || r.Host != h.host || r.RequestURI != h.uri || r.ContentLength != int64(length) ||
			len(r.Trailer) > 0 || len(r.TransferEncoding) > 0 {
			t.Fatalf("%q: %+v", text, r)
		}
		for name := range r.Header {
			switch name {
			case "Expect", "Upgrade", "Trailer", "Transfer-Encoding", "Host":
				t.Fatalf("%q has %s", text, name)
			}
			if !isToken(name) {
				t.Fatalf("%q has the field %q", text, name)
			}
		}
	})
}
