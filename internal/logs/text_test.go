package logs

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
)

func TestText(t *testing.T) {
	for _, s := range []string{"", "a", strings.Repeat("a", MaxText), strings.Repeat("ä", MaxText/2)} {
		assert.Equal(t, s, Text(s))
	}
	for _, unit := range []string{"a", "ä", "€", "𝄞", "\xff", "\x80"} {
		for shift := range 5 {
			s := strings.Repeat("x", shift) + strings.Repeat(unit, MaxText)
			got := Text(s + "y")
			assert.True(t, strings.HasPrefix(s, strings.TrimSuffix(got, "...")), "%q", got)
			assert.Greater(t, len(got), MaxText-utf8.UTFMax)
			assert.LessOrEqual(t, len(got), MaxText+3)
			assert.Equal(t, utf8.ValidString(s), utf8.ValidString(got))
		}
	}
}

func TestError(t *testing.T) {
	assert.NoError(t, Error(nil))
	assert.Equal(t, io.EOF, Error(io.EOF))
	err := Error(fmt.Errorf("%s: %w", strings.Repeat("a", MaxText), io.EOF))
	assert.Equal(t, strings.Repeat("a", MaxText)+"...", err.Error())
	assert.True(t, errors.Is(err, io.EOF))
}
