package wire

import (
	"encoding/base64"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestBase64(t *testing.T) {
	src := make([]byte, 300)
	for i := range src {
		src[i] = byte(rand.Uint32())
	}
	for n := range src {
		text := appendBase64([]byte("before"), src[:n])
		assert.Equal(t, "before"+base64.StdEncoding.EncodeToString(src[:n]), string(text))
		got, err := appendDecoded([]byte("before"), text[len("before"):])
		assert.NoError(t, err)
		assert.Equal(t, "before"+string(src[:n]), string(got))
	}
}

// FuzzBase64 compares with package base64.
func FuzzBase64(f *testing.F) {
	for _, s := range []string{
		"", "AAAA", "AAAAAAAA", "QUJDREVGR0g=", "QUJDREVGRw==", "QUJDREVGRw", "QUJDREVG\nR0hJSktM\r\n", "QUJD=EVG", "QUJDREVG\xff0hJ",
		"QUJDREVGR0h=", "\nQUJDREVGR0hJSktM", strings.Repeat("QUJD", 30) + "-" + strings.Repeat("QUJD", 30),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		want, werr := base64.StdEncoding.AppendDecode(nil, text)
		got, err := appendDecoded(nil, text)
		assert.Equal(t, werr == nil, err == nil)
		assert.Equal(t, string(want), string(got))
		assert.Equal(t, base64.StdEncoding.EncodeToString(text), string(appendBase64(nil, text)))
	})
}
