package framing

import "github.com/gobosh/bosh/internal/buffer"

// A Run is what a Cutter takes from a chunk at a time.
type Run struct {
	// Elements are whole elements, none or more, of Kind Element or Features,
	// and Count is how many. They are good until the next call, but if Owned is
	// set their buffer is the caller's, who gives it to package buffer.
	Elements []byte
	Count    int
	Owned    bool

	Next Item // what follows them, if it is of another Kind and whole
	Took int  // bytes of the chunk
}

// CutRun takes elements from p as Cut does, until there are size bytes of them, or
// an item of another Kind. With an error it returns what came before.
func (c *Cutter) CutRun(p []byte, size int) (r Run, err error) {
	for err == nil && r.Next.Kind == None && r.Took < len(p) && len(r.Elements) < size {
		if r.Count == 1 && !r.Owned {
			n := len(r.Elements)
			r.Elements = append(buffer.Grow(nil, max(n, min(n+len(p)-r.Took, size))), r.Elements...)
			r.Owned = true
		}
		var n int
		var it Item
		n, it, err = c.Cut(p[r.Took:])
		r.Took += n
		switch it.Kind {
		case None:
		case Element, Features:
			if r.Count++; r.Count == 1 {
				r.Elements = it.XML
			} else {
				r.Elements = append(buffer.Grow(r.Elements, len(it.XML)), it.XML...)
			}
		default:
			r.Next = it
		}
	}
	return r, err
}
