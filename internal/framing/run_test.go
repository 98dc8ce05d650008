package framing

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh/internal/buffer"
)

// cutRuns is cut by CutRun, with the elements between items of other kinds in one
// out, and how many they are.
func cutRuns(c *Cutter, b string, size int, next func(left int) int) (items []out, counts []int, err error) {
	add := func(it out, n int) {
		last := len(items) - 1
		if it.kind != Element || last < 0 || items[last].kind != Element {
			items, counts = append(items, it), append(counts, n)
			return
		}
		items[last].xml += it.xml
		counts[last] += n
	}
	for b != "" && err == nil {
		chunk := []byte(b[:min(max(next(len(b)), 1), len(b))])
		b = b[len(chunk):]
		for len(chunk) > 0 && err == nil {
			var r Run
			r, err = c.CutRun(chunk, size)
			if r.Count > 0 {
				add(out{kind: Element, xml: string(r.Elements)}, r.Count)
			}
			if r.Next.Kind != None {
				add(out{r.Next.Kind, string(r.Next.XML), r.Next.Head}, 1)
			}
			if err == nil && r.Took == 0 {
				return items, counts, fmt.Errorf("nothing taken of %q", chunk)
			}
			chunk = chunk[r.Took:]
		}
	}
	return items, counts, err
}

// runs returns items as cutRuns does.
func runs(items []out) (joined []out, counts []int) {
	for _, it := range items {
		if it.kind == Features {
			it.kind = Element
		}
		last := len(joined) - 1
		if it.kind == Element && last >= 0 && joined[last].kind == Element {
			joined[last].xml += it.xml
			counts[last]++
			continue
		}
		joined, counts = append(joined, it), append(counts, 1)
	}
	return joined, counts
}

func TestCutRun(t *testing.T) {
	const ns = " xmlns='jabber:client'"
	p := []byte("<a xmlns='u'/><b xmlns='u'/> <c xmlns='u'/><d xmlns='u'/>")
	for _, test := range [...]struct {
		name, in string
		size     int
		want     string
		count    int
		took     int
		next     Kind
		err      bool
	}{
		{"all", "<a xmlns='u'/><b xmlns='u'/>", 100, "<a xmlns='u'/><b xmlns='u'/>", 2, 28, None, false},
		{"enough", "<a xmlns='u'/><b xmlns='u'/>", 14, "<a xmlns='u'/>", 1, 14, None, false},
		{"nearly enough", "<a xmlns='u'/><b xmlns='u'/><c xmlns='u'/>", 15, "<a xmlns='u'/><b xmlns='u'/>", 2, 28, None, false},
		{"space between", string(p), 100, strings.ReplaceAll(string(p), " <", "<"), 4, len(p), None, false},
		{"space around", " <a xmlns='u'/> ", 100, "<a xmlns='u'/>", 1, 16, None, false},
		{"changed", "<a/><b/>", 100, "<a" + ns + "/><b" + ns + "/>", 2, 8, None, false},
		{"changed between", "<a xmlns='u'/><b/><c xmlns='u'/>", 100, "<a xmlns='u'/><b" + ns + "/><c xmlns='u'/>", 3, 32, None, false},
		{"space before the last", "<a xmlns='u'/><b xmlns='u'/> <c xmlns='u'/>", 100, "<a xmlns='u'/><b xmlns='u'/><c xmlns='u'/>", 3, 43, None, false},
		{"changed last", "<a xmlns='u'/><b/>", 100, "<a xmlns='u'/><b" + ns + "/>", 2, 18, None, false},
		{"changed first", "<b/><a xmlns='u'/>", 100, "<b" + ns + "/><a xmlns='u'/>", 2, 18, None, false},
		{"part", "<a/><b", 100, "<a" + ns + "/>", 1, 6, None, false},
		{"end", "<a/></stream:stream><c/>", 100, "<a" + ns + "/>", 1, 20, End, false},
		{"error", "<a/><b></c>", 100, "<a" + ns + "/>", 1, 4, None, true},
	} {
		c := NewXMPP(1000)
		_, err := c.CutRun([]byte(header), 1)
		require.NoError(t, err)
		r, err := c.CutRun([]byte(test.in), test.size)
		assert.Equal(t, test.want, string(r.Elements), test.name)
		assert.Equal(t, test.count, r.Count, test.name)
		assert.Equal(t, test.took, r.Took, test.name)
		assert.Equal(t, test.next, r.Next.Kind, test.name)
		assert.Equal(t, test.err, err != nil, test.name)
	}
}

// What follows one another and needs no change is not copied.
func TestCutRunInPlace(t *testing.T) {
	for _, n := range []int{1, 50} {
		all := strings.Repeat(benchStanza, n)
		for _, more := range []string{"", "\n", benchStanza[:100]} {
			p := []byte("  " + all + more)
			r, err := NewElements(1000).CutRun(p, 1<<20)
			require.NoError(t, err)
			assert.Equal(t, n, r.Count)
			assert.False(t, r.Owned)
			assert.Same(t, &p[2], &r.Elements[0])
			assert.Equal(t, all, string(r.Elements))
		}
	}
}

// An element that began in an earlier chunk is in a buffer that the next one
// needs.
func TestCutRunBegun(t *testing.T) {
	c := NewElements(1000)
	_, err := c.CutRun([]byte(benchStanza[:100]), 1<<20)
	require.NoError(t, err)
	r, err := c.CutRun([]byte(benchStanza[100:]+benchStanza+benchStanza[:100]), 1<<20)
	require.NoError(t, err)
	assert.True(t, r.Owned)
	assert.Equal(t, benchStanza+benchStanza, string(r.Elements))
}

// Of a long chunk no more is copied at a time than is wanted.
func TestCutRunOwned(t *testing.T) {
	p := []byte(strings.Repeat(benchStanza+"\n", 1000))
	r, err := NewElements(1000).CutRun(p, 20_000)
	require.NoError(t, err)
	assert.True(t, r.Owned)
	assert.Less(t, cap(r.Elements), 50_000)
	assert.Equal(t, strings.Repeat(benchStanza, r.Count), string(r.Elements))
}

func BenchmarkCutRun(b *testing.B) {
	for _, bm := range []struct{ name, header, stanza string }{
		{"elements", "", benchStanza},
		{"xmpp", benchHeader, benchServer},
	} {
		b.Run(bm.name, func(b *testing.B) {
			c := NewElements(1 << 20)
			if bm.header != "" {
				c = NewXMPP(1 << 20)
				c.CutRun([]byte(bm.header), 1)
			}
			p := []byte(strings.Repeat(bm.stanza, 50))
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				r, err := c.CutRun(p, 1<<20)
				if err != nil || r.Count != 50 {
					b.Fatal(r.Count, err)
				}
				if r.Owned {
					buffer.Rest(r.Elements)
				}
			}
		})
	}
}
