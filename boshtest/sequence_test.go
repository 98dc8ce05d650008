package boshtest

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestNumbered(t *testing.T) {
	for _, fill := range []int{0, 1, 100} {
		n, ok := Number(Numbered(-42, fill))
		assert.True(t, ok)
		assert.Equal(t, -42, n)
	}
	n, ok := Number([]byte(`<x:n xmlns:x="urn:bosh:boshtest" n="7"></x:n>`))
	assert.True(t, ok)
	assert.Equal(t, 7, n)
	for _, text := range []string{"", "<n/>", "<n n='", "<n n='1", "<n n='x'/>", "<n> n='1'</n>", "<n n=>"} {
		_, ok := Number([]byte(text))
		assert.False(t, ok, text)
	}
}

func TestSequence(t *testing.T) {
	check := func(want string, n int, numbers ...int) {
		t.Helper()
		var s Sequence
		for _, x := range numbers {
			s.Got(x)
		}
		assert.Equal(t, len(numbers), s.Count())
		err := s.Check(n)
		if want == "" {
			assert.NoError(t, err)
			return
		}
		assert.EqualError(t, err, want)
	}
	check("", 0)
	check("", 3, 0, 1, 2)
	check("boshtest: of 4 numbers: 2 lost: [1 3]", 4, 0, 2)
	check("boshtest: of 3 numbers: 1 twice: [1]", 3, 0, 1, 1, 2)
	check("boshtest: of 3 numbers: 1 late: [0]", 3, 1, 0, 2)
	check("boshtest: of 1 numbers: 1 is beyond 0", 1, 0, 1)
	check("boshtest: of 20 numbers: 20 lost: [0 1 2 3 4 5 6 7 8 9] and more", 20)
}
