package main

import (
	"bytes"
	"encoding/xml"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const header = `<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='1' from='example.org' version='1.0'>`

// cut feeds a splitter by so many bytes at a time and returns its items, each
// with a mark for its kind.
func cut(s *splitter, in string, step int) (items []string, err error) {
	for len(in) > 0 {
		n := copy(s.space(), in[:min(step, len(in))])
		s.filled(n)
		in = in[n:]
		for {
			it, err := s.next()
			if err == io.ErrShortBuffer {
				break
			}
			if err != nil {
				return items, err
			}
			items = append(items, "_HE/"[it.kind:it.kind+1]+string(it.data))
		}
	}
	return items, nil
}

// solid joins filler that was cut.
func solid(items []string) (joined []string) {
	for _, it := range items {
		if n := len(joined); n > 0 && strings.TrimSpace(it) == "_" && strings.TrimSpace(joined[n-1]) == "_" {
			joined[n-1] += it[1:]
			continue
		}
		joined = append(joined, it)
	}
	return joined
}

func TestSplit(t *testing.T) {
	long := "<message><body>" + strings.Repeat("x > y ", 3000) + "</body></message>"
	for name, want := range map[string][]string{
		"header":      {"_<?xml version='1.0'?>", "H" + header},
		"declaration": {"_<?xml version='1.0' encoding=\"utf-8\" ?>", "_\n", "H" + header},
		"features":    {"H" + header, "E<stream:features><a xmlns='x'><b/></a></stream:features>"},
		"restart":     {"H" + header, "E<success xmlns='s'/>", "_<?xml version='1.0'?>", "H" + header, "E<stream:features/>"},
		"end":         {"H" + header, "E<a/>", "/</stream:stream>"},
		"white space": {"H" + header, "_ \n", "E<a/>", "_\t"},
		"quotes":      {"H" + header, `E<a b='">' c="'/>"></a>`, `E<a b='/'/>`, `E<a b='/'>x</a>`},
		"cdata":       {"H" + header, `E<a><![CDATA[</a>]]&gt;]> ]] >]]></a>`, "E<a><![CDATA[]]></a>"},
		"instruction": {"H" + header, `E<a><?b </a>> ?></a>`},
		"nested":      {"H" + header, "E<a><stream><a/></stream></a>", "E<stream xmlns='other'/>", "E<stream xmlns='other'><a/></stream>"},
		"long":        {"H" + header, "E" + long, "E" + long, "E<a/>"},
		"space in it": {"H" + header, "E<a  b = 'c' ></a >", "E<a\n/>", "/</stream:stream >"},
	} {
		var in string
		for _, it := range want {
			in += it[1:]
		}
		for _, step := range []int{1, 2, 3, 7, 100, 1 << 20} {
			got, err := cut(&splitter{max: 1 << 20}, in, step)
			require.NoError(t, err, name)
			assert.Equal(t, want, solid(got), "%s by %d", name, step)
		}
	}
}

func TestSplitRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		in   string
		want error
	}{
		"no header":        {"<message/>", errNotXMPP},
		"wrong namespace":  {"<stream:stream xmlns:stream='x'>", errNotXMPP},
		"empty header":     {strings.TrimSuffix(header, ">") + "/>", errNotXMPP},
		"end tag":          {"</stream:stream>", errNotXMPP},
		"beyond the end":   {header + "</stream:stream></a>", errNotXMPP},
		"comment":          {header + "<!-- a -->", errNotXMPP},
		"document type":    {"<!DOCTYPE a>", errNotXMPP},
		"endless header":   {"<stream:stream a='" + strings.Repeat("x", 2*maxHeader), errTooLarge},
		"endless element":  {header + "<a>" + strings.Repeat("x", 5000), errTooLarge},
		"endless tag":      {header + "<a b='" + strings.Repeat("x", 5000), errTooLarge},
		"HTTP":             {"HTTP/1.1 400 Bad Request\r\n", errNotXMPP},
		"text":             {header + "<a/>text", errNotXMPP},
		"wrong at restart": {header + "<stream:stream xmlns:stream='http://etherx.jabber.org/streams'/>", errNotXMPP},
	} {
		for _, step := range []int{1, 5, 1 << 20} {
			_, err := cut(&splitter{max: 4000}, test.in, step)
			assert.ErrorIs(t, err, test.want, name)
		}
	}
}

// A splitter at rest keeps no large buffer.
func TestSplitForgets(t *testing.T) {
	s := &splitter{max: 1 << 20}
	_, err := cut(s, header+"<a>"+strings.Repeat("x", 100_000)+"</a>", 4096)
	require.NoError(t, err)
	s.space()
	assert.Len(t, s.buf[s.start:], 0)
	assert.LessOrEqual(t, cap(s.buf), 4*minBuffer)
}

// What comes out is what went in, however it is cut, and well-formed XML is cut
// where encoding/xml sees the children of the root.
func FuzzSplit(f *testing.F) {
	f.Add([]byte(header+"<a b='>'>x<![CDATA[</a>]]></a> <c/></stream:stream>"), uint8(3))
	f.Add([]byte("<?xml version='1.0'?>"+header+"<stream:features><x/></stream:features>"+header+"<a/>"), uint8(1))
	f.Fuzz(func(t *testing.T, in []byte, step uint8) {
		text := string(in)
		whole, wholeErr := cut(&splitter{max: 1 << 20}, text, 1<<20)
		s := &splitter{max: 1 << 20}
		parts, err := cut(s, text, int(step)+1)
		require.Equal(t, wholeErr, err)
		if err != nil {
			return
		}
		require.Equal(t, solid(whole), solid(parts))
		var out string
		for _, it := range parts {
			out += it[1:]
		}
		require.Equal(t, text, out+string(s.buf[s.start:]))

		want, ok := children(in)
		if !ok {
			return
		}
		var got []string
		for _, it := range whole {
			if it[0] == 'E' {
				got = append(got, it[1:])
			}
		}
		require.Equal(t, want, got)
	})
}

// children returns the children of the root as encoding/xml sees them, if the
// document is well-formed as far as that can tell, and a stream without
// anything that XMPP forbids.
func children(doc []byte) (list []string, ok bool) {
	if bytes.Contains(doc, []byte("<!--")) || bytes.Contains(doc, []byte("<!D")) {
		return nil, false
	}
	d := xml.NewDecoder(bytes.NewReader(doc))
	depth, start := 0, int64(0)
	for {
		at := d.InputOffset()
		tok, err := d.Token()
		if err == io.EOF {
			return list, depth == 0
		}
		if err != nil {
			return nil, false
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			if depth == 0 && (tok.Name != xml.Name{Space: nsStream, Local: "stream"}) || depth == 1 && tok.Name.Local == "stream" {
				return nil, false
			}
			if depth == 1 {
				start = at
			}
			depth++
		case xml.EndElement:
			if depth--; depth == 1 {
				list = append(list, string(doc[start:d.InputOffset()]))
			}
		case xml.Directive:
			return nil, false
		}
	}
}
