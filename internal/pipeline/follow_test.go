package pipeline

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func post(body string) string {
	return fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func TestRequests(t *testing.T) {
	for name, test := range map[string]struct {
		text    string
		begun   int
		between bool
	}{
		"nothing":          {"", 0, true},
		"one":              {post("<body/>"), 1, true},
		"two":              {post("<body/>") + post("<body><a/></body>"), 2, true},
		"a half":           {post("<body/>")[:40], 1, false},
		"one and a half":   {post("<body/>") + "P", 2, false},
		"body not whole":   {strings.TrimSuffix(post("<body/>"), ">"), 1, false},
		"no body":          {"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + post("<body/>"), 2, true},
		"bare line ends":   {strings.ReplaceAll(post("<body/>")+post("<body/>"), "\r", ""), 2, true},
		"no blank":         {"POST / HTTP/1.1\r\ncontent-LENGTH:4\r\n\r\nPOST" + post("<body/>"), 2, true},
		"body like a head": {post(post("<body/>")) + post("<body/>"), 2, true},
		"long lines": {"POST /" + strings.Repeat("a", 100) + " HTTP/1.1\r\nCookie: " + strings.Repeat("Content-Length: 9 ", 9) +
			"\r\nContent-Length: 2\r\n\r\n\r\n" + post("<body/>"), 2, true},
		"an empty line":    {post("<body/>") + "\r\n" + post("<body/>") + "\r\n", 2, true},
		"two empty lines":  {post("<body/>") + "\r\n\r\n" + post("<body/>"), 2, true},
		"too many of them": {post("<body/>") + "\n\n\n\n\n", 2, true},
		"one at the start": {"\r\n" + post("<body/>"), 2, true},
		"chunked":          {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + post("<body/>"), 1, false},
		"upgrade":          {"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n" + post("<body/>"), 1, false},
		"HTTP/2":           {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + post("<body/>"), 1, false},
		"length no number": {"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n" + post("<body/>"), 1, false},
		"length too large": {"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n" + post("<body/>"), 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			for size := 1; size <= len(test.text)+1; size++ {
				var q requests
				begun, rest := 0, []byte(test.text)
				for len(rest) > 0 {
					n := min(size, len(rest))
					begun += q.follow(rest[:n])
					rest = rest[n:]
				}
				assert.Equal(t, test.begun, begun, "by %d bytes", size)
				assert.Equal(t, test.between, q.between(), "by %d bytes", size)
			}
		})
	}
}

func TestRecords(t *testing.T) {
	record := func(n int) []byte {
		return append([]byte{23, 3, 3, byte(n >> 8), byte(n)}, make([]byte, n)...)
	}
	var q records
	assert.Equal(t, 9999, q.limit(9999), "before anything is known")
	q.follow(append(record(300), record(2)[:3]...))
	for _, step := range []struct {
		want int
		read []byte
	}{
		{2, record(2)[3:4]},
		{1, record(2)[4:5]},
		{2, record(2)[5:]},
		{5, record(0)},
		{5, record(16384)[:5]},
		{9999, record(16384)[5:10004]},
		{6385, nil},
	} {
		assert.Equal(t, step.want, q.limit(9999))
		q.follow(step.read)
	}
	assert.Equal(t, 1, q.limit(1))
}
