package boshnats

import (
	"encoding/binary"
	"errors"
)

// The kinds of NATS messages, by the first byte.
const (
	whole      = 'm' // a message for ServeRelay, or of its answer
	piece      = 'p' // a part of one: see cut
	failure    = 'e' // the answer is an error
	ping       = '?' // is anybody there?
	pong       = '!' // the instance is
	counts     = 'c' // of a node, in JSON
	via        = 'v' // a message for another node, whose name is in front: see seal
	nobody     = 'n' // the answer to such a one: that node is gone
	word       = 'k' // what is known of a node
	offered    = 'o' // a node that leaves asks another one to take over its names
	handed     = 'h' // a session of it
	handedPart = 'H' // a part of one
	question   = 'q' // has it come?
	taken      = 'a' // it has left

	moved = 'w' // the answer that the session is on its way to another process: ask again, or there if its name follows
)

// overhead is how much of a NATS message is not the piece.
const overhead = 1 + 2*binary.MaxVarintLen32

// cut calls send with the pieces of message, of at most max bytes. Each is good until
// send returns.
func cut(whole, piece byte, buf, message []byte, max int, send func([]byte) error) error {
	if 1+len(message) <= max {
		return send(append(append(buf, whole), message...))
	}
	size := max - overhead
	n := (len(message) + size - 1) / size
	for i := range n {
		b := binary.AppendUvarint(binary.AppendUvarint(append(buf, piece), uint64(i)), uint64(n))
		if err := send(append(b, message[i*size:min((i+1)*size, len(message))]...)); err != nil {
			return err
		}
	}
	return nil
}

// seal appends the envelope of message for a node to pass it on.
func seal(b []byte, to string, message []byte) []byte {
	return append(append(append(b, via, byte(len(to))), to...), message...)
}

// unseal is the reverse, without the first byte.
func unseal(data []byte) (to string, message []byte, ok bool) {
	if len(data) == 0 || len(data) < 1+int(data[0]) {
		return "", nil, false
	}
	n := 1 + int(data[0])
	return string(data[1:n]), data[n:], true
}

var (
	errPieces = errors.New("boshnats: pieces of a message do not fit together")
	errLarge  = errors.New("boshnats: a message is larger than Options.MaxMessage")
)

// A message is made of the pieces so far, in their order.
type message struct {
	b    []byte
	next uint64 // the piece that comes next
	n    uint64 // of how many
}

// add adds a piece, and reports whether it was the last one.
func (m *message) add(data []byte, max int) (done bool, err error) {
	i, k := binary.Uvarint(data)
	if k <= 0 {
		return false, errPieces
	}
	n, l := binary.Uvarint(data[k:])
	if l <= 0 || i != m.next || i >= n || i > 0 && n != m.n {
		return false, errPieces
	}
	data = data[k+l:]
	if len(m.b)+len(data) > max {
		return false, errLarge
	}
	m.b, m.next, m.n = append(m.b, data...), i+1, n
	return m.next == n, nil
}
