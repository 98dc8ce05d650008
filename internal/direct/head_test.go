package direct

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

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
	first := hs.get([]byte(aHead()))
	assert.Same(t, first, hs.get([]byte(strings.Replace(aHead(), "12", "345", 1))))
	assert.Nil(t, hs.get([]byte(aHead("Connection: close"))))
	for i := range 3 * maxHeads {
		require.NotNil(t, hs.get([]byte(aHead(fmt.Sprint("X-A: ", i)))))
		require.LessOrEqual(t, len(hs.m), maxHeads)
	}
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
