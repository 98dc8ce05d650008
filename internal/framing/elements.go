package framing

import (
	"errors"
	"slices"

	"github.com/gobosh/bosh/internal/wire"
	"github.com/gobosh/bosh/internal/xmlscan"
)

// Elements returns the elements in b, made self-contained, and their number. They must
// be whole, and of at most max bytes each. The result may be b itself.
func Elements(b []byte, max int) (out []byte, n int, err error) { return elements(b, max, nil) }

// Stanzas is Elements for stanzas: the default namespace is jabber:client, and the
// prefix stream is declared.
func Stanzas(b []byte, max int) (out []byte, n int, err error) { return elements(b, max, usual) }

// Last is Elements for the output with the end of a stream. There the prefix stream
// need not be declared.
func Last(b []byte) (out []byte, err error) {
	out, _, err = elements(b, len(b), usual[1:])
	return slices.Clone(out), err
}

func elements(b []byte, max int, bindings []xmlscan.Binding) (out []byte, n int, err error) {
	scan := scanners.Get().(*xmlscan.Scanner)
	defer scanners.Put(scan)
	scan.ResetInside(bindings)
	var x xmlscan.Item
	for ; len(b) > 0; b = b[x.Len:] {
		if err := nextWhole(scan, b, max, &x); err != nil {
			return nil, 0, err
		}
		if x.Kind != xmlscan.Element {
			continue
		}
		if n++; n == 1 && x.Len == len(b) && alone(&x, false) {
			return b, n, nil
		}
		out = appendAlone(out, b[:x.Len], &x, bindings, false)
	}
	return out, n, nil
}

var errPart = errors.New("element is not whole")

// nextWhole scans an item of at most max bytes, or any white space. It must be whole.
func nextWhole(scan *xmlscan.Scanner, b []byte, max int, x *xmlscan.Item) error {
	switch err := scan.Next(b, x); {
	case err == xmlscan.ErrMore && len(b) <= max:
		return errPart
	case err == xmlscan.ErrMore || err == nil && x.Len > max && x.Kind != xmlscan.Space:
		return ErrTooLarge
	case err != nil && b[0] != '<':
		return errText
	default:
		return err
	}
}

// alone reports whether the element x takes nothing from outside but, for xmpp, the
// prefix stream.
func alone(x *xmlscan.Item, xmpp bool) bool {
	return !x.UsesDefault && (len(x.Uses) == 0 || xmpp && len(x.Uses) == 1 && isStream(x.Uses[0]))
}

// appendAlone appends the element x, with the bytes b, and declares on it the bindings
// that it uses of these. The default namespace is always declared if x uses it: inside
// a wrapper it would be the wrapper's.
func appendAlone(out, b []byte, x *xmlscan.Item, bindings []xmlscan.Binding, xmpp bool) []byte {
	out = append(out, b[:x.NameEnd]...)
	if x.UsesDefault {
		out = xmlscan.AppendAttr(out, "xmlns", defaultNS(bindings))
	}
	for _, u := range x.Uses {
		if !xmpp || !isStream(u) {
			out = append(append(append(out, " xmlns:"...), u.Prefix...), "='"...)
			out = append(xmlscan.AppendEscaped(out, u.URI), '\'')
		}
	}
	return append(out, b[x.NameEnd:]...)
}

func isStream(b xmlscan.Binding) bool { return b.Prefix == "stream" && b.URI == wire.NSStream }

func defaultNS(bindings []xmlscan.Binding) string {
	for _, b := range bindings {
		if b.Prefix == "" {
			return b.URI
		}
	}
	return ""
}
