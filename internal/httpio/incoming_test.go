package httpio

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"

	"github.com/gobosh/bosh/internal/wire"
	"github.com/stretchr/testify/assert"
)

const text = "<?xml version='1.0'?><body a='>' sid='s&amp;d' xmlns='" + wire.NS + "'><a>"

// sids returns the sids that are asked for while a body comes in pieces, and at how many
// bytes.
func sids(body string, encoding []string, piece int) (all []string, at int) {
	var u Incoming[string]
	for n := piece; n <= len(body); n += piece {
		u.Flowing([]byte(body[:n]), encoding, func(sid []byte) (string, bool) {
			all, at = append(all, string(sid)), n
			return "owner", true
		})
	}
	return all, at
}

func TestFlowing(t *testing.T) {
	end := strings.Index(text, "<a>")
	got, at := sids(text+strings.Repeat("x", 100), nil, 1)
	assert.Equal(t, []string{"s&d"}, got)
	assert.Equal(t, end, at, "at once")
	got, at = sids(text+strings.Repeat("<b/>", 100), nil, 40)
	assert.Equal(t, []string{"s&d"}, got)
	assert.Less(t, at, end+40)

	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(text + strings.Repeat("<a/>", 10_000)))
	w.Flush()
	got, _ = sids(b.String(), []string{"gzip"}, b.Len()/4)
	assert.Equal(t, []string{"s&d"}, got)
}

// Nothing is found where there is nothing, and whoever sends a long tag by the byte has
// it looked at a few times.
func TestNothing(t *testing.T) {
	for _, body := range []string{
		"", "garbage", "<body>" + strings.Repeat("x", 100), "<body xmlns='" + wire.NS + "' rid='1'>xx",
		"<body xmlns='" + wire.NS + "' sid='" + strings.Repeat(">", 40<<10) + "'>", strings.Repeat(" ", 40<<10),
	} {
		got, _ := sids(body, nil, 1)
		assert.Empty(t, got, body[:min(len(body), 50)])
		got, _ = sids(body, []string{"gzip"}, 1)
		assert.Empty(t, got)
	}
	var u Incoming[int]
	looks := 0
	for n := range 16 << 10 {
		before := u.tries
		u.Flowing([]byte("<body sid='"+strings.Repeat(">", n)), nil, nil)
		looks += u.tries - before
	}
	assert.Less(t, looks, 30)
}

func TestOver(t *testing.T) {
	var u Incoming[string]
	for range 2 {
		u.Over(func(string) { assert.Fail(t, "nobody's") })
		u.Flowing([]byte(text), nil, func([]byte) (string, bool) { return "", false })
		u.Over(func(string) { assert.Fail(t, "nobody's") })
		u.Flowing([]byte(text), nil, func([]byte) (string, bool) { return "owner", true })
		var got []string
		for range 2 {
			u.Over(func(s string) { got = append(got, s) })
		}
		assert.Equal(t, []string{"owner"}, got, "once")
	}
}
