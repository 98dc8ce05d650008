package httpio

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestBudget(t *testing.T) {
	other := int64(0)
	b := &Budget{Max: 1 << 20, Other: func() int64 { return other }}
	large := strings.Repeat("x", 300<<10)
	read := func(text string, encoding ...string) (*Share, error) {
		s := &Share{Budget: b}
		_, _, err := ReadBody(nil, request(strings.NewReader(text), encoding...), 1<<20, s, nil)
		return s, err
	}

	small, err := read(strings.Repeat("x", FreeBytes-1))
	assert.NoError(t, err)
	assert.Zero(t, b.Taken())
	small.Give()

	first, err := read(large)
	assert.NoError(t, err)
	assert.GreaterOrEqual(t, b.Taken(), int64(len(large)-FreeBytes))
	assert.Less(t, b.Taken(), int64(2*len(large)))
	other = b.Max - b.Taken() - 100<<10
	second, err := read(large)
	assert.ErrorIs(t, err, ErrNoRoom)
	assert.LessOrEqual(t, b.Taken()+other, b.Max)
	second.Give()
	first.Give()
	first.Give()
	assert.Zero(t, b.Taken())

	other = 900 << 10
	bomb, err := read(coded(t, "gzip", large), "gzip")
	assert.ErrorIs(t, err, ErrNoRoom)
	bomb.Give()
	assert.Zero(t, b.Taken())

	b.Max = 0
	all, err := read(large)
	assert.NoError(t, err)
	all.Give()
	_, _, err = ReadBody(nil, request(bytes.NewReader([]byte(large))), 1<<20, &Share{}, nil)
	assert.NoError(t, err)
}
