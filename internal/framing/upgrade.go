package framing

import (
	"bytes"
	"fmt"

	"github.com/gobosh/bosh/internal/wire"
	"github.com/gobosh/bosh/internal/xmlscan"
)

// Namespaces of changes to a stream beneath its stanzas.
const (
	nsTLS             = "urn:ietf:params:xml:ns:xmpp-tls"
	nsSASL            = "urn:ietf:params:xml:ns:xmpp-sasl"
	nsSASL2           = "urn:xmpp:sasl:" // and a version
	nsCompress        = "http://jabber.org/protocol/compress"
	nsCompressFeature = "http://jabber.org/features/compress"
)

// An Upgrade is a change of the bytes of a stream. On TCP a client asks for it. Over
// BOSH there are no such bytes, and a server that agreed would take a plain stream for
// a secure one.
type Upgrade uint8

const (
	NoUpgrade Upgrade = 0
	STARTTLS  Upgrade = 1 << (iota - 1)
	Compression
)

// Upgrades are all of them.
var Upgrades = [...]Upgrade{STARTTLS, Compression}

// AsksFor returns the upgrade for which an element of a client asks.
func AsksFor(local, uri []byte) Upgrade {
	switch {
	case string(local) == "starttls" && string(uri) == nsTLS:
		return STARTTLS
	case string(local) == "compress" && string(uri) == nsCompress:
		return Compression
	}
	return NoUpgrade
}

// Failure is the element that refuses an upgrade. RFC 6120, section 5.4.2.2; XEP-0138,
// section 3.
func (u Upgrade) Failure() string {
	if u == STARTTLS {
		return "<failure xmlns='" + nsTLS + "'/>"
	}
	return "<failure xmlns='" + nsCompress + "'><unsupported-method/></failure>"
}

// IsFailure reports whether an element refuses an upgrade.
func IsFailure(local, uri []byte) bool {
	return string(local) == "failure" && (string(uri) == nsTLS || string(uri) == nsCompress)
}

// restarts reports whether the client has to restart the stream after the element.
func restarts(local, uri []byte) bool {
	switch string(local) {
	case "success":
		return string(uri) == nsSASL || bytes.HasPrefix(uri, []byte(nsSASL2))
	case "proceed":
		return string(uri) == nsTLS
	case "compressed":
		return string(uri) == nsCompress
	}
	return false
}

// offered reports whether a stream feature offers an upgrade.
func offered(local, uri []byte) bool {
	switch string(local) {
	case "starttls":
		return string(uri) == nsTLS
	case "compression":
		return string(uri) == nsCompressFeature
	}
	return false
}

// withoutUpgrades returns the features b without offers of an upgrade. All else in
// them stays as it is. It may return b itself.
func (c *Cutter) withoutUpgrades(b []byte) ([]byte, error) {
	if !bytes.Contains(b, []byte("starttls")) && !bytes.Contains(b, []byte("compression")) {
		return b, nil
	}
	scan := scanners.Get().(*xmlscan.Scanner)
	defer func() {
		scan.Outer = nil
		scan.Reset() // or it would hold b
		scanners.Put(scan)
	}()
	scan.Outer = c.bindings
	scan.Reset()
	var left []byte
	var x xmlscan.Item
	kept := 0 // up to there b is in left
	for off := 0; off < len(b); off += x.Len {
		if err := scan.Next(b[off:], &x); err != nil {
			return nil, fmt.Errorf("stream features: %w", err)
		}
		if x.Kind == xmlscan.Element && offered(x.Local, x.URI) {
			left = append(left, b[kept:off]...)
			kept = off + x.Len
		}
	}
	if kept == 0 {
		return b, nil
	}
	return append(left, b[kept:]...), nil
}

// element makes it of the scanned element b.
func (c *Cutter) element(b []byte, x *xmlscan.Item, it *Item) (err error) {
	kind := Element
	switch {
	case !c.xmpp:
	case string(x.URI) != wire.NSStream:
		it.Restart = restarts(x.Local, x.URI)
	case string(x.Local) == "features":
		kind = Features
		if c.plain {
			b, err = c.withoutUpgrades(b)
		}
	case string(x.Local) == "error":
		kind = Error
	}
	if err == nil {
		it.Kind, it.XML = kind, c.complete(b, x)
	}
	return err
}
