package framing

import "github.com/gobosh/bosh/internal/buffer"

// A Run is the part that a Cutter takes from a chunk at a time.
type Run struct {
	// Elements are whole elements, none or more, of Kind Element or Features, and
	// Count is how many. They are good until the next call, and as long as the chunk
	// is. But if Owned is set their buffer is the caller's, to be given to package
	// buffer.
	Elements []byte
	Count    int
	Owned    bool
	Restart  bool // after one of them the client has to restart the stream

	Next Item // what follows them, if it is of another Kind and whole
	Took int  // bytes of the chunk

	inPlace bool // Elements is a part of the chunk
}

// CutRun takes elements from p as Cut does, until there are size bytes of them, or an
// item of another Kind. With an error it returns the elements before it. Consecutive
// elements in p that need no change are not copied.
func (c *Cutter) CutRun(p []byte, size int) (r Run, err error) {
	for err == nil && r.Next.Kind == None && r.Took < len(p) && len(r.Elements) < size {
		if r.Count == 1 && !r.inPlace {
			r.own(len(p)-r.Took, size) // the Cutter goes on using its buffer
		}
		var n int
		var it Item
		n, err = c.next(p[r.Took:], &it)
		r.Took += n
		switch it.Kind {
		case None:
		case Element, Features:
			r.add(&it, n, len(p)-r.Took, size)
		default:
			r.Next = it
		}
	}
	return r, err
}

// add adds an element made of n bytes of the chunk. There are rest more.
func (r *Run) add(it *Item, n, rest, size int) {
	r.Restart = r.Restart || it.Restart
	switch {
	case r.Count == 0:
		r.Elements, r.inPlace = it.XML, it.inPlace
	case r.inPlace && it.inPlace && n == len(it.XML):
		r.Elements = r.Elements[:len(r.Elements)+n]
	default:
		r.own(len(it.XML)+rest, size)
		r.Elements = append(buffer.Grow(r.Elements, len(it.XML)), it.XML...)
	}
	r.Count++
}

// own moves the elements to a buffer of the caller's. It has room for more bytes, up
// to size in all.
func (r *Run) own(more, size int) {
	if r.Owned {
		return
	}
	n := len(r.Elements)
	r.Elements = append(buffer.Grow(nil, max(n, min(n+more, size))), r.Elements...)
	r.Owned, r.inPlace = true, false
}
