package framing

import (
	"bytes"
	"encoding/xml"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func name(space, local string) xml.Name { return xml.Name{Space: space, Local: local} }

func TestEncoder(t *testing.T) {
	xmlns, p := xml.Attr{Name: name("", "xmlns"), Value: "u"}, xml.Attr{Name: name("xmlns", "p"), Value: "v"}
	for _, test := range []struct {
		start xml.StartElement
		want  string
	}{
		{xml.StartElement{Name: name("", "a")}, `<a>x</a>`},
		{xml.StartElement{Name: name("u", "a")}, `<a xmlns="u">x</a>`},
		{xml.StartElement{Name: name("u", "a"), Attr: []xml.Attr{xmlns}}, `<a xmlns="u">x</a>`},
		{xml.StartElement{Name: name("u", "a"), Attr: []xml.Attr{xmlns, p}}, `<a xmlns="u">x</a>`},
		{xml.StartElement{Name: name("", "a"), Attr: []xml.Attr{xmlns}}, `<a>x</a>`},
		{xml.StartElement{Name: name("", "a"), Attr: []xml.Attr{{Name: name("", "xmlns")}}}, `<a xmlns="">x</a>`},
		{xml.StartElement{Name: name("u", "a"), Attr: []xml.Attr{{Name: name("", "b"), Value: "<'\""}}}, `<a xmlns="u" b="&lt;&#39;&#34;">x</a>`},
		{xml.StartElement{Name: name("u", "a"), Attr: []xml.Attr{{Name: name("v", "b"), Value: "1"}}}, `<a xmlns="u" xmlns:v="v" v:b="1">x</a>`},
	} {
		var out bytes.Buffer
		e := NewTokenEncoder(&out)
		attrs := append([]xml.Attr(nil), test.start.Attr...)
		require.NoError(t, e.EncodeToken(test.start))
		assert.Equal(t, attrs, append([]xml.Attr(nil), test.start.Attr...), "the caller's attributes stay")
		require.NoError(t, e.EncodeToken(xml.CharData("x")))
		require.NoError(t, e.EncodeToken(test.start.End()))
		assert.Zero(t, out.Len(), "before Flush")
		require.NoError(t, e.Flush())
		assert.Equal(t, test.want, out.String())
		require.NoError(t, e.Flush())
		assert.Equal(t, test.want, out.String(), "once")
	}
}

type failing struct{ error }

func (f failing) Write([]byte) (int, error) { return 0, f.error }

func TestErrors(t *testing.T) {
	bad := errors.New("bad")
	e := NewTokenEncoder(failing{bad})
	require.Error(t, e.EncodeToken(xml.EndElement{Name: name("", "a")}))
	require.NoError(t, e.EncodeToken(xml.StartElement{Name: name("", "a")}))
	assert.Equal(t, bad, e.Flush())
}
