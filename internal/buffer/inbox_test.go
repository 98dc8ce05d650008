package buffer

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// put adds the elements of one request.
func put(in *Inbox, elements ...string) {
	for i, el := range elements {
		in.Element(append(in.Buffer(0), el...), i == len(elements)-1)
	}
}

func read(in *Inbox, n int) string {
	p := make([]byte, n)
	return string(p[:in.Read(p)])
}

func TestRead(t *testing.T) {
	var in Inbox
	assert.Zero(t, in.Len())
	assert.Empty(t, read(&in, 10))
	put(&in, "<a/>", "<b/>")
	put(&in, "<c/>")
	in.Bytes(append(in.Buffer(0), "bytes"...))
	assert.Equal(t, 17, in.Len())
	for _, test := range []struct {
		n    int
		want string
	}{
		{0, ""}, {2, "<a"}, {4, "/><b"}, {100, "/>"}, {4, "<c/>"}, {100, "bytes"}, {100, ""},
	} {
		assert.Equal(t, test.want, read(&in, test.n), "never beyond the end of a request")
	}
	assert.Zero(t, in.Len())
}

func TestNext(t *testing.T) {
	var in Inbox
	assert.Nil(t, in.Next(nil))
	put(&in, "<a/>", "<b/>")
	put(&in, "<c/>")
	a := in.Next(nil)
	assert.Equal(t, "<b", read(&in, 2))
	for _, want := range []string{"/>", "<c/>"} {
		assert.Equal(t, want, string(in.Next(nil)))
	}
	assert.Nil(t, in.Next(nil))
	put(&in, "<d/>")
	assert.Equal(t, "<a/>", string(a), "in a buffer of its own")
	in.Clear()
	assert.Zero(t, in.Len())
	assert.Nil(t, in.Next(nil))
}

// However it is filled and read, what comes out is what went in, and an Inbox
// that is empty keeps no large
func TestRandom(t *testing.T) {
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		var in Inbox
		var want, got strings.Builder
		var whole []string // elements not read yet
		for i := range 300 {
			switch rnd.IntN(4) {
			case 0, 1:
				var els []string
				for range 1 + rnd.IntN(3) {
					els = append(els, fmt.Sprintf("<%d>%s</>", i, strings.Repeat("x", rnd.IntN(400))))
				}
				put(&in, els...)
				want.WriteString(strings.Join(els, ""))
				whole = append(whole, els...)
			case 2:
				n := 1 + rnd.IntN(1000)
				b := read(&in, n)
				got.WriteString(b)
				for len(b) > 0 {
					took := min(len(b), len(whole[0]))
					require.Equal(t, whole[0][:took], b[:took])
					if b, whole[0] = b[took:], whole[0][took:]; whole[0] == "" {
						whole = whole[1:]
					}
				}
			case 3:
				el := string(in.Next(nil))
				got.WriteString(el)
				if len(whole) == 0 {
					require.Empty(t, el)
					continue
				}
				require.Equal(t, whole[0], el)
				whole = whole[1:]
			}
			require.Equal(t, want.Len()-got.Len(), in.Len())
			if in.Len() == 0 {
				require.LessOrEqual(t, cap(in.b), Small)
			}
			require.LessOrEqual(t, cap(in.b), 4*in.Len()+2*Block, "what was read is let go")
		}
		for in.Len() > 0 {
			got.WriteString(read(&in, 100))
		}
		require.Equal(t, want.String(), got.String())
	}
}

// Taking elements one by one takes no longer for each the more there are.
func TestManyElements(t *testing.T) {
	const n = 300_000
	var in Inbox
	for i := range n {
		in.Element(append(in.Buffer(0), "<a/>"...), i == n-1)
	}
	begin := time.Now()
	for range n {
		require.Len(t, in.Next(nil), 4)
	}
	assert.Zero(t, in.Len())
	assert.Less(t, time.Since(begin), 10*time.Second)
}

// What is taken is the caller's, and the buffer that took its place is used.
func TestTake(t *testing.T) {
	var in Inbox
	spare := make([]byte, 0, 100)
	in.Element(append(in.Buffer(0), "<a/>"...), false)
	in.Element(append(in.Buffer(0), "<b/>"...), true)
	assert.Equal(t, "<a/>", string(in.Next(nil)))
	b, unread := in.Take(spare)
	assert.Equal(t, "<b/>", string(unread))
	assert.Equal(t, "<a/><b/>", string(b))
	assert.Zero(t, in.Len())
	assert.Nil(t, in.Next(nil))
	in.Element(append(in.Buffer(0), "<c/>"...), true)
	assert.Equal(t, "<c/>", string(spare[:4]))
	assert.Equal(t, "<a/><b/>", string(b))
	assert.Equal(t, "<c/>", string(in.Next(nil)))
}

// What is lent is waited for, and whoever is done first does not matter.
func TestLend(t *testing.T) {
	var in Inbox
	put(&in, "<a/>", "<b/>")
	b, unread := in.Take(nil)
	assert.Zero(t, in.Len())
	assert.Equal(t, 8, in.Behind())
	assert.Equal(t, cap(b), in.Size())
	put(&in, "<c/>")
	in.Lend(100, 200)
	assert.Equal(t, 4, in.Len())
	assert.Equal(t, 112, in.Behind())
	in.Clear()
	assert.Zero(t, in.Len())
	assert.Equal(t, 108, in.Behind(), "it is in somebody's hands still")
	in.Return(len(unread), cap(b))
	assert.Equal(t, 100, in.Behind())
	assert.Equal(t, 200, in.Size())
	in.Return(100, 200)
	assert.Equal(t, Inbox{}, in)
}

// Size is what is there, but for what an empty Inbox keeps.
func TestInboxSize(t *testing.T) {
	var in Inbox
	put(&in, "<a/>")
	assert.Equal(t, 4+cap(in.marks)*markSize, in.Size())
	read(&in, 4)
	assert.Zero(t, in.Size())
	for range 20_000 {
		put(&in, "<a/>")
	}
	assert.Equal(t, cap(in.b)+cap(in.marks)*markSize, in.Size())
	assert.GreaterOrEqual(t, in.Size(), 20_000*(4+markSize))
	for in.Len() > 2000 {
		in.Next(nil)
	}
	assert.LessOrEqual(t, in.Size(), 4*2000+4*2000/4*markSize+2*Block, "what has been read is let go")
	for in.Len() > 0 {
		in.Next(nil)
	}
	assert.Zero(t, in.Size())
}
