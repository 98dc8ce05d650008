package framing

import (
	"github.com/gobosh/bosh/internal/wire"
)

// An Undelivered says which payloads are those of one stream.
type Undelivered struct {
	Name  string // as answers have it
	First bool   // there was no other one before: an answer that names none is its
	XMPP  bool   // what is about the stream itself is not one of its payloads
	Data  string // if the stream is of bytes: the namespace of the elements that carry them
}

// Payloads returns the payloads of the stream in an answer that we have made.
func (s *Undelivered) Payloads(answer []byte) (payloads [][]byte) {
	req := wire.Request{Body: answer}
	if err := req.Parse(wire.Ours); err != nil || !s.named(req.Stream) {
		return nil
	}
	for _, p := range req.Payloads {
		var data []byte
		switch {
		case p.Inherits(), s.XMPP && string(p.URI) == wire.NSStream, s.XMPP && IsFailure(p.Local, p.URI):
			continue // ours, or about the stream
		case s.Data != "":
			data, _ = wire.AppendData(nil, &req, p, s.Data)
		default:
			data = req.AppendElement(nil, p)
		}
		payloads = append(payloads, data)
	}
	return payloads
}

// named reports whether an answer that names a stream, or none, is of this one.
func (s *Undelivered) named(name []byte) bool {
	if len(name) == 0 {
		return s.First
	}
	return string(name) == s.Name
}
