package framing

import "github.com/gobosh/bosh/internal/wire"

// An Undelivered says which payloads of an answer are those of one stream, for what is
// to be known of payloads that may not have arrived.
type Undelivered struct {
	Name  string // as answers have it
	First bool   // there was no other one before: an answer that names none is its
}

// payloads returns what read makes of the stream's payloads in an answer that we have
// made, but for those of which that is nil.
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

// named reports whether an answer that names a stream, or none, is of this one.
func (u *Undelivered) named(name []byte) bool {
	if len(name) == 0 {
		return u.First
	}
	return string(name) == u.Name
}
