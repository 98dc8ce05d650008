package framing

import (
	"slices"

	"github.com/gobosh/bosh/internal/state"
	"github.com/gobosh/bosh/internal/xmlscan"
)

// Named returns the Framing of a name, or nil.
func Named(name string) Framing {
	for _, f := range All {
		if f.String() == name {
			return f
		}
	}
	return nil
}

// Whole reports whether the Cutter is between two items.
func (c *Cutter) Whole() bool { return len(c.part) == 0 && !c.begun && c.err == nil }

// Export returns where the stream is, for another Cutter to go on with, or nil if that
// need not know. The Cutter is Whole.
func (c *Cutter) Export() *state.Cut {
	if !c.xmpp || !c.inside {
		return nil
	}
	x := &state.Cut{Root: string(c.root)}
	if !slices.Equal(c.bindings, usual) {
		for _, b := range c.bindings {
			x.Bindings = append(x.Bindings, state.Binding(b))
		}
	}
	return x
}

// Import has a new Cutter go on inside a stream that another one has begun.
func (c *Cutter) Import(x *state.Cut) {
	c.inside, c.root, c.bindings = true, []byte(x.Root), usual
	if x.Bindings != nil {
		c.bindings = make([]xmlscan.Binding, len(x.Bindings))
		for i, b := range x.Bindings {
			c.bindings[i] = xmlscan.Binding(b)
		}
	}
}
