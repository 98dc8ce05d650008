package handler_test

import (
	"compress/gzip"
	"compress/zlib"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// decoded returns the text of an answer, without its content coding.
func decoded(t *testing.T, r HttpAnswer) string {
	t.Helper()
	var src io.Reader = strings.NewReader(r.Text)
	var err error
	switch coding := r.Header.Get("Content-Encoding"); coding {
	case "":
	case "gzip":
		src, err = gzip.NewReader(src)
	case "deflate":
		src, err = zlib.NewReader(src)
	default:
		t.Fatalf("coding %q", coding)
	}
	require.NoError(t, err)
	b, err := io.ReadAll(src)
	require.NoError(t, err)
	return string(b)
}

// Only a coding is used that the request lists with a weight. B5-7.
func TestAcceptEncoding(t *testing.T) {
	for accept, want := range map[string]string{
		"":                           "",
		"gzip":                       "gzip",
		"GZIP":                       "gzip",
		"x-gzip":                     "gzip",
		"gzip, deflate, br":          "gzip",
		"deflate":                    "deflate",
		"deflate, gzip;q=0.5":        "gzip",
		"gzip;q=0, deflate":          "deflate",
		"gzip;q=0.000,deflate;q=0.1": "deflate",
		"gzip ; Q = 0, deflate;q=0":  "",
		"gzip;q=none":                "",
		"gzip;level=9":               "gzip",
		"br, zstd, identity":         "",
		"*":                          "",
		"notgzip, gzip2":             "",
	} {
		synctest.Test(t, func(t *testing.T) {
			o := Elements()
			o.Compress = 100
			s, p := Connect(t, o)
			long := "<a xmlns='u'>" + strings.Repeat("long ", 100) + "</a>"
			Write(t, s, long)
			r := Do(t, p.Rt, "POST", AnyURL, strings.NewReader(p.Body(1001, "")), "Accept-Encoding", accept)
			assert.Equal(t, want, r.Header.Get("Content-Encoding"), accept)
			assert.Equal(t, "Accept-Encoding", r.Header.Get("Vary"))
			assert.Contains(t, decoded(t, r), long)
			if want != "" {
				assert.Less(t, len(r.Text), 200)
			}
		})
	}
}

func TestCompressFrom(t *testing.T) {
	for size, want := range map[int]string{-1: "", 0: "", 1: "gzip", 600: "gzip", 10_000: ""} {
		synctest.Test(t, func(t *testing.T) {
			o := Elements()
			o.Compress = size
			s, p := Connect(t, o)
			Write(t, s, "<a xmlns='u'>"+strings.Repeat("long ", 120)+"</a>")
			r := Do(t, p.Rt, "POST", AnyURL, strings.NewReader(p.Body(1001, "")), "Accept-Encoding", "gzip")
			assert.Equal(t, want, r.Header.Get("Content-Encoding"), size)
			assert.Equal(t, size > 0, r.Header.Get("Vary") != "")
			r = Do(t, p.Rt, "POST", AnyURL, strings.NewReader(p.Body(1002, "", "type='terminate'")), "Accept-Encoding", "gzip")
			assert.Empty(t, r.Header.Get("Content-Encoding"), "it would be longer")
		})
	}
}

// The text of a repeat is the same, whatever its coding. B14.3-2.
func TestCompressRepeats(t *testing.T) {
	OverVersions(t, bosh.Options{Framing: bosh.Elements, Compress: 1}, 0,
		func(t *testing.T, h *bosh.Handler, pipe *boshtest.PipeServer) {
			pipe.Transport.DisableCompression = true
			p := Dial(t, pipe)
			Write(t, Accept(t, h), "<a xmlns='u'>"+strings.Repeat("0123456789", 50_000)+"</a>")
			var first string
			for i, accept := range []string{"gzip", "deflate", "identity", "gzip", "gzip;q=0"} {
				r := Do(t, pipe, "POST", AnyURL, strings.NewReader(p.Body(1001, "")), "Accept-Encoding", accept)
				assert.EqualValues(t, len(r.Text), r.ContentLength)
				assert.Empty(t, r.TransferEncoding)
				if i == 0 {
					first = decoded(t, r)
					assert.Less(t, len(r.Text), len(first)/10)
				}
				require.Equal(t, first, decoded(t, r), accept)
			}
		})
}
