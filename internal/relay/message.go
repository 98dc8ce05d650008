package relay

import (
	"encoding/binary"
	"errors"
	"time"
)

// A Request is the part of an HTTP request that travels to the node of its session.
type Request struct {
	Body      []byte        // decompressed
	Malformed bool          // it could not be read to its end
	Secure    bool          // as the node has it where it came in
	Encrypted bool          // its connection is TLS
	Cert      []byte        // the client's certificate, if it showed one
	Conn      uint64        // a number for its connection if that keeps answers in order, or 0
	Left      time.Duration // until it must have been answered; 0 if that is not known
	Head      []byte        // of the HTTP request, if somebody may look at it: see Head
	Passed    bool          // it has come from another node, which asks again if need be; does not travel
	Hops      uint8         // how many nodes have passed it on that had the session before
}

// An Answer is the answer to a Request.
type Answer struct {
	Status  int // if not 0, an HTTP error, which has no body
	Content string
	Body    []byte
}

// A kind is the kind of a message. A later, incompatible version takes other
// numbers.
type kind byte

const (
	isRequest kind = 1 + iota
	isCancel       // the client has left
	isHurry        // the client waits for the answer to go on
	isAnswer
)

// A key tells a Request from all others, of all nodes. Its first bytes differ most.
type key [16]byte

func newKey(n, front uint64) (k key) {
	binary.LittleEndian.PutUint64(k[:], n)
	binary.LittleEndian.PutUint64(k[8:], front)
	return k
}

const (
	secure = 1 << iota
	encrypted
	malformed
	hasCert
	hasLeft
	hasHead
	hasHops
)

// errMessage is the error for bytes that are no message, or one of a later version.
var errMessage = errors.New("bosh: message of another node that cannot be understood")

// appendNotice appends a message about a Request.
func appendNotice(b []byte, as kind, k key) []byte { return append(append(b, byte(as)), k[:]...) }

// appendRequest appends the message for q, from a node of that name.
func appendRequest(b []byte, k key, from string, q *Request) []byte {
	b = appendNotice(b, isRequest, k)
	flags := byte(0)
	for i, is := range [...]bool{q.Secure, q.Encrypted, q.Malformed, q.Cert != nil, q.Left > 0, q.Head != nil, q.Hops > 0} {
		if is {
			flags |= 1 << i
		}
	}
	b = field(append(b, flags), from)
	b = binary.LittleEndian.AppendUint64(b, q.Conn)
	if q.Cert != nil {
		b = field(b, q.Cert)
	}
	if q.Left > 0 {
		b = binary.AppendUvarint(b, uint64(q.Left))
	}
	if q.Head != nil {
		b = field(b, q.Head)
	}
	if q.Hops > 0 {
		b = append(b, q.Hops)
	}
	return append(b, q.Body...)
}

// renew appends the message of a request with another time left.
func renew(b, message []byte, left time.Duration) []byte {
	r := reader(message)
	_, k := r.readKind()
	q, from, _ := r.readRequest()
	q.Left = left
	return appendRequest(b, k, string(from), &q)
}

// appendAnswer appends the message for a.
func appendAnswer(b []byte, a *Answer) []byte {
	b = binary.AppendUvarint(append(b, byte(isAnswer)), uint64(a.Status))
	return append(field(b, a.Content), a.Body...)
}

// field appends s and, before it, its length.
func field[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// A reader is the unread rest of a message. It is nil if it was too short.
type reader []byte

func (r *reader) take(n uint64) (b []byte) {
	if n > uint64(len(*r)) {
		*r = nil
		return nil
	}
	b, *r = (*r)[:n:n], (*r)[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) number() uint64 {
	n, size := binary.Uvarint(*r)
	if size <= 0 {
		*r = nil
		return 0
	}
	*r = (*r)[size:]
	return n
}

func (r *reader) field() []byte { return r.take(r.number()) }

// readKind reads the kind of a message, and its key.
func (r *reader) readKind() (as kind, k key) {
	as = kind(r.byte())
	copy(k[:], r.take(uint64(len(k))))
	return as, k
}

// readRequest reads the rest of a request. The fields of the Request point into the
// message.
func (r *reader) readRequest() (q Request, from []byte, err error) {
	flags := r.byte()
	q.Secure, q.Encrypted, q.Malformed = flags&secure != 0, flags&encrypted != 0, flags&malformed != 0
	from = r.field()
	if b := r.take(8); b != nil {
		q.Conn = binary.LittleEndian.Uint64(b)
	}
	if flags&hasCert != 0 {
		q.Cert = r.field()
	}
	if flags&hasLeft != 0 {
		q.Left = time.Duration(r.number())
	}
	if flags&hasHead != 0 {
		q.Head = r.field()
	}
	if flags&hasHops != 0 {
		q.Hops = r.byte()
	}
	q.Body = *r
	if *r == nil || !valid(from) || q.Left < 0 {
		return q, nil, errMessage
	}
	return q, from, nil
}

// readAnswer reads an answer; it points into the message.
func readAnswer(message []byte, content func([]byte) (string, bool)) (a Answer, err error) {
	r := reader(message)
	if kind(r.byte()) != isAnswer {
		return a, errMessage
	}
	status := r.number()
	media, ok := content(r.field())
	a.Content, a.Status, a.Body = media, int(status), r
	if !ok || r == nil || status > 999 || status != 0 && status < 200 {
		return Answer{}, errMessage
	}
	return a, nil
}
