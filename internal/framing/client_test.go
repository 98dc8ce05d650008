package framing

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Stanzas are in jabber:client unless they say otherwise.
func TestStanzas(t *testing.T) {
	const text = "<message/><a xmlns='u'/><stream:error/>"
	want := []string{"<message xmlns='jabber:client'/>", "<a xmlns='u'/>", "<stream:error xmlns:stream='http://etherx.jabber.org/streams'/>"}
	b, n, err := Stanzas([]byte(text), 100)
	require.NoError(t, err)
	assert.Equal(t, 3, n)
	assert.Equal(t, want[0]+want[1]+want[2], string(b))
	c := NewStanzas(100)
	rest := []byte(text)
	for _, want := range want {
		n, it, err := c.Cut(rest)
		require.NoError(t, err)
		assert.Equal(t, want, string(it.XML))
		rest = rest[n:]
	}
}

// A stream whose header was seen elsewhere goes on, and may begin anew.
func TestInside(t *testing.T) {
	c := NewInside(1000)
	_, it, err := c.Cut([]byte("<mess"))
	require.NoError(t, err)
	assert.Equal(t, None, it.Kind)
	assert.Equal(t, "<mess", string(c.Part()))
	_, it, err = c.Cut([]byte("age/>"))
	require.NoError(t, err)
	assert.Equal(t, "<message xmlns='jabber:client'/>", string(it.XML))
	assert.Empty(t, c.Part())
	head := Head{ID: "1", From: "a", To: "b'", Version: "1.0", Lang: "en"}
	_, it, err = c.Cut(head.Append(nil))
	require.NoError(t, err)
	require.Equal(t, Header, it.Kind)
	assert.Equal(t, head, *it.Head)
	_, it, err = c.Cut([]byte("</stream:stream>"))
	require.NoError(t, err)
	assert.Equal(t, End, it.Kind)
	_, _, err = NewInside(1000).Cut([]byte("</stream:other>"))
	assert.Error(t, err)
}
