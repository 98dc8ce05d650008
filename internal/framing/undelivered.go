package framing

import "github.com/gobosh/bosh/internal/wire"

// An Undelivered says which payloads of an answer belong to one stream. It serves to
// report payloads that may not have arrived.
type Undelivered struct {
	Name  string // as answers have it
	First bool   // there was no other one before: an answer that names none is its
}

// payloads applies read to the stream's payloads in an answer of ours, and returns the
// results that are not nil.
func (u *Undelivered) payloads(answer []byte, read func(*wire.Request, wire.Payload) []byte) (payloads [][]byte) {
	req := wire.Request{Body: answer}
	if err := req.Parse(wire.Ours); err != nil || !u.named(req.Stream) {
		return nil
	}
	for _, p := range req.Payloads {
		if p.Inherits() {
			continue // ours
		}
		if data := read(&req, p); data != nil {
			payloads = append(payloads, data)
		}
	}
	return payloads
}

// named reports whether an answer with this stream name, or none, belongs to this
// stream.
func (u *Undelivered) named(name []byte) bool {
	if len(name) == 0 {
		return u.First
	}
	return string(name) == u.Name
}
