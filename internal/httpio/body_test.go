package httpio

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/gobosh/bosh/internal/session"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func request(body io.Reader, encoding ...string) *http.Request {
	return &http.Request{Header: http.Header{"Content-Encoding": encoding}, Body: io.NopCloser(body)}
}

// bare returns b as compress/flate has it.
func bare(t *testing.T, b string) string {
	t.Helper()
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, 1)
	require.NoError(t, err)
	io.WriteString(w, b)
	require.NoError(t, w.Close())
	return out.String()
}

// coded returns b in a coding, although it may not be shorter for that.
func coded(t *testing.T, coding, b string) string {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&out)
	if coding == "deflate" {
		w = zlib.NewWriter(&out)
	}
	io.WriteString(w, b)
	require.NoError(t, w.Close())
	return out.String()
}

func TestRead(t *testing.T) {
	const text, limit = "0123456789", 10
	gz, zl := coded(t, "gzip", text), coded(t, "deflate", text)
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		encoding []string
		body     io.Reader
		limit    int64
		want     string
		err      error // errAny for any other than those that are named
	}{
		"plain":                    {nil, strings.NewReader(text), limit, text, nil},
		"empty":                    {nil, strings.NewReader(""), limit, "", nil},
		"byte by byte":             {nil, iotest.OneByteReader(strings.NewReader(text)), limit, text, nil},
		"data with EOF":            {nil, iotest.DataErrReader(strings.NewReader(text)), limit, text, nil},
		"one too many":             {nil, strings.NewReader(text + "x"), limit, text, ErrTooLarge},
		"far too many":             {nil, strings.NewReader(strings.Repeat(text, 1000)), limit, text, ErrTooLarge},
		"cut off":                  {nil, io.MultiReader(strings.NewReader("012"), iotest.ErrReader(io.ErrUnexpectedEOF)), limit, "012", ErrBroken},
		"broken":                   {nil, io.MultiReader(strings.NewReader("012"), iotest.ErrReader(broken)), limit, "012", broken},
		"another's limit":          {nil, iotest.ErrReader(&http.MaxBytesError{Limit: 1}), limit, "", ErrTooLarge},
		"gzip":                     {[]string{"gzip"}, strings.NewReader(gz), 100, text, nil},
		"gzip in parts":            {[]string{"gzip"}, strings.NewReader(gz + gz), 100, text + text, nil},
		"gzip, cut off on the way": {[]string{"gzip"}, io.MultiReader(strings.NewReader(gz[:9]), iotest.ErrReader(broken)), 100, "", ErrBroken},
		"gzip, cut off before":     {[]string{"gzip"}, strings.NewReader(gz[:len(gz)-3]), 100, text, errAny},
		"gzip, too large before":   {[]string{"gzip"}, strings.NewReader(gz), 5, "", ErrTooLarge},
		"gzip, too large after":    {[]string{"gzip"}, strings.NewReader(coded(t, "gzip", strings.Repeat("x", 10_000))), 100, strings.Repeat("x", 100), ErrTooLarge},
		"deflate":                  {[]string{" Deflate "}, strings.NewReader(zl), 100, text, nil},
		"bare deflate":             {[]string{"deflate"}, strings.NewReader(bare(t, text)), 100, text, nil},
		"a media type":             {[]string{"text/xml"}, strings.NewReader(text), limit, text, nil},
		"a media type, and gzip":   {[]string{"text/xml; charset=utf-8", "gzip"}, strings.NewReader(gz), 100, text, nil},
		"two headers":              {[]string{"identity", "gzip"}, strings.NewReader(gz), 100, text, nil},
		"twice":                    {[]string{"gzip", "deflate"}, strings.NewReader(gz), 100, "", errAny},
		"unknown":                  {[]string{"zstd"}, strings.NewReader(text), limit, "", errAny},
		"a charset, and gzip":      {[]string{"utf-8, gzip"}, strings.NewReader(gz), 100, text, nil},
	} {
		t.Run(name, func(t *testing.T) {
			b, _, err := ReadBody(make([]byte, 0, 3), request(test.body, test.encoding...), test.limit, nil, nil)
			if test.encoding == nil { // else it was not decompressed perhaps
				assert.Equal(t, test.want, string(b))
			}
			switch test.err {
			case nil:
				require.NoError(t, err)
				assert.Equal(t, test.want, string(b))
			case errAny:
				require.Error(t, err)
				assert.NotErrorIs(t, err, ErrBroken)
				assert.NotErrorIs(t, err, ErrTooLarge)
			default:
				assert.ErrorIs(t, err, test.err)
			}
		})
	}
}

var errAny = errors.New("any")

func TestAccepted(t *testing.T) {
	for _, test := range []struct {
		want   string
		header []string
	}{
		{"", nil},
		{"", []string{""}},
		{"gzip", []string{"gzip"}},
		{"gzip", []string{"deflate", "gzip"}},
		{"deflate", []string{"br", "deflate;q=1.0"}},
		{"deflate", []string{"gzip;q=0.0 , deflate"}},
		{"", []string{"gzip;q=0,deflate;q=0, *"}},
		{"", []string{"gzip;q="}},
		{"", []string{"gzip;q=-1"}},
		{"", []string{"gzip;q=NaN"}},
		{"gzip", []string{";;,gzip;;"}},
	} {
		assert.Equal(t, test.want, Accepted(test.header), "%q", test.header)
	}
}

func TestEncode(t *testing.T) {
	long := bytes.Repeat([]byte("<message/>"), 1000)
	assert.Nil(t, Encode(long, ""))
	assert.Nil(t, Encode(long, "br"))
	var wg sync.WaitGroup
	for _, coding := range []string{"gzip", "deflate", "gzip", "deflate"} {
		wg.Go(func() {
			for range 20 {
				assert.Nil(t, Encode([]byte("<body/>"), coding), "it would be longer")
				b := Encode(long, coding)
				assert.Less(t, len(b), len(long)/10)
				back, _, err := ReadBody(nil, request(bytes.NewReader(b), coding), 1<<20, nil, nil)
				assert.NoError(t, err)
				assert.Equal(t, long, back)
			}
		})
	}
	wg.Wait()
}

// FuzzRead reads anything under a limit, and what was encoded as it was.
func FuzzRead(f *testing.F) {
	f.Add("gzip", []byte("text"))
	f.Add("deflate", []byte{0x78, 0x9c})
	f.Fuzz(func(t *testing.T, coding string, body []byte) {
		const limit = 1000
		b, _, err := ReadBody(nil, request(bytes.NewReader(body), coding), limit, nil, nil)
		if len(b) > limit {
			t.Errorf("%d bytes", len(b))
		}
		if errors.Is(err, ErrBroken) {
			t.Error(err)
		}
		for _, coding := range []string{"gzip", "deflate"} {
			if short := Encode(body, coding); short != nil {
				back, _, err := ReadBody(nil, request(bytes.NewReader(short), coding), int64(len(body)), nil, nil)
				if err != nil || !bytes.Equal(back, body) {
					t.Errorf("%s: %v", coding, err)
				}
			}
		}
	})
}

// A charset is no coding. What is none, and no charset either, is refused.
func TestCharset(t *testing.T) {
	for _, name := range []string{
		"utf-8", "UTF-8", "utf8", "Utf_8", "charset=utf-8", "charset=\"UTF-8\"", "\"utf-8\"", "utf-8;", "utf-16le", "UCS-2", "unicode",
		"iso-8859-1", "ISO8859-15", "iso_8859-1:1987", "us-ascii", "ASCII", "latin1", "windows-1252", "cp1251", "ibm437",
		"macintosh", "x-mac-roman", "koi8-r", "Big5", "gbk", "GB18030", "euc-jp", "Shift_JIS", "x-sjis", "tis-620", "8bit", "7bit", "binary",
	} {
		c, err := coding([]string{name})
		assert.NoError(t, err, name)
		assert.Empty(t, c, name)
	}
	for _, name := range []string{"br", "zstd", "compress", "x-compress", "aes128gcm", "exi", "pack200-gzip", "dcb", "dcz", "xpress", "lzma", "bzip2", "base64"} {
		_, err := coding([]string{name})
		assert.Error(t, err, name)
	}
}

// The codings that clients are told of at the creation are those that can be read and
// written.
func TestCodings(t *testing.T) {
	told := strings.Split(new(session.Grant).Attributes().Accept, ",")
	body := []byte(strings.Repeat("a", 1000))
	for _, coding := range told {
		assert.Equal(t, coding, Accepted([]string{coding}))
		encoded := Encode(body, coding)
		require.NotEmpty(t, encoded, coding)
		share := Share{Budget: new(Budget)}
		got, err := Decode(nil, encoded, []string{coding}, 1<<20, &share)
		assert.NoError(t, err, coding)
		assert.Equal(t, body, got, coding)
		share.Give()
	}
	var known []string
	for _, c := range codecs {
		known = append(known, c.name)
	}
	assert.Equal(t, known, told, "the attribute accept of session.Grant.Attributes")
}
