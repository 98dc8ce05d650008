package wire

import (
	"strconv"

	"github.com/gobosh/bosh/internal/xmlscan"
)

// NSOpaque is the namespace of elements with bytes.
const NSOpaque = "urn:bosh:opaque:0"

// An Ask is a <body/> for a server: a [Request] there. Zero fields are left out.
type Ask struct {
	Rid                      int64
	SID, Key, NewKey, Stream string
	Ack, Pause               int64 // Pause in seconds
	Terminate                bool
	Condition                string

	To, From, Lang, Version string   // of a request that opens a stream, or begins it anew
	Restart                 bool     // it begins it anew
	Create                  *Terms   // it creates the session
	Attrs                   []Attr   // further ones; a Space gets a prefix
	Opaque                  bool     // the payloads are bytes
	Payloads                [][]byte // elements or bytes
	XMPP                    bool     // the prefix stream may occur in the payloads
}

// Terms are a client's wishes.
type Terms struct {
	Wait, Hold int64 // seconds; requests
	Ver        string
	Acks       bool
}

// Append appends the request.
func (a *Ask) Append(b []byte) []byte {
	b = number(append(b, open...), "rid", a.Rid)
	b = attr(b, "sid", a.SID)
	if t := a.Create; t != nil {
		b = number(number(b, "wait", t.Wait), "hold", t.Hold)
		b = attr(b, "ver", t.Ver)
		if t.Acks {
			b = number(b, "ack", 1)
		}
	}
	b = attr(attr(b, "key", a.Key), "newkey", a.NewKey)
	if a.Ack > 0 {
		b = number(b, "ack", a.Ack)
	}
	b = attr(b, "stream", a.Stream)
	if a.Pause > 0 {
		b = number(b, "pause", a.Pause)
	}
	if a.Terminate {
		b = attr(b, "type", "terminate")
	}
	b = attr(b, "condition", a.Condition)
	b = attr(attr(attr(b, "to", a.To), "from", a.From), "xml:lang", a.Lang)
	if a.Version != "" || a.Restart {
		b = attr(b, "xmlns:xmpp", NSXBOSH)
		b = attr(b, "xmpp:version", a.Version)
	}
	if a.Restart {
		b = attr(b, "xmpp:restart", "true")
	}
	if a.XMPP && len(a.Payloads) > 0 {
		b = attr(b, "xmlns:stream", NSStream)
	}
	for i, x := range a.Attrs {
		name := x.Local
		if x.Space != "" {
			prefix := "a" + strconv.Itoa(i)
			b = attr(b, "xmlns:"+prefix, x.Space)
			name = prefix + ":" + name
		}
		b = xmlscan.AppendAttr(b, name, x.Value)
	}
	if len(a.Payloads) == 0 {
		return append(b, "/>"...)
	}
	b = append(b, '>')
	for _, p := range a.Payloads {
		if !a.Opaque {
			b = append(b, p...)
			continue
		}
		b = append(b, dataOpen+NSOpaque+"'>"...)
		b = append(appendBase64(b, p), dataClose...)
	}
	return append(b, end...)
}
