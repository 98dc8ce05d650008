package main

import (
	"bytes"
	"errors"
	"slices"
	"sync"

	"github.com/gobosh/bosh/internal/xmlscan"
)

// A checker knows the stream of a server, and finds malformed XML in it before
// the library does. The library would blame this program.
type checker struct {
	bindings []xmlscan.Binding // the namespaces that the last header declares
	root     []byte            // its name
	old      bool              // it has no version, so that no features follow
}

var (
	errTag       = errors.New("the server sent an end tag that ends nothing")
	errMalformed = errors.New("the server sent XML that is not well-formed")
)

var scanners = sync.Pool{New: func() any { return new(xmlscan.Scanner) }}

// check returns an error for a bad item.
func (c *checker) check(it item) error {
	if it.kind == itemEnd {
		if name := bytes.TrimRight(it.data[2:len(it.data)-1], " \t\r\n"); !bytes.Equal(name, c.root) {
			return errTag
		}
		return nil
	}
	if it.kind == itemFiller && it.data[0] != '<' {
		return nil
	}
	s := scanners.Get().(*xmlscan.Scanner)
	defer scanners.Put(s)
	defer s.Reset() // which forgets the data
	var x xmlscan.Item
	if it.kind == itemElement {
		s.ResetInside(c.bindings)
	} else {
		s.Reset()
	}
	if err := s.Next(it.data, &x); err != nil {
		return errors.Join(errMalformed, err)
	}
	if it.kind == itemHeader {
		c.begin(s, &x)
	}
	return nil
}

// begin takes note of a header.
func (c *checker) begin(s *xmlscan.Scanner, x *xmlscan.Item) {
	c.bindings = slices.Clone(s.Bindings())
	c.root = c.root[:0]
	if len(x.Prefix) > 0 {
		c.root = append(append(c.root, x.Prefix...), ':')
	}
	c.root = append(c.root, x.Local...)
	c.old = !slices.ContainsFunc(s.Attrs(), func(a xmlscan.Attr) bool {
		return len(a.Prefix) == 0 && string(a.Local) == "version"
	})
}
