// Package replay keeps the answers of ended sessions, for clients that ask for them
// again.
package replay

import "encoding/binary"

// A Session is the data of a session besides its answers.
type Session struct {
	SID     string
	Content string // the Content-Type of its answers
	Legacy  bool   // its client sent no version
	Secure  bool   // it takes no insecure request
	Cert    []byte // the client's certificate, if it is secure and there was one
	Moved   bool   // it is not over: another process has it

	// The reason of its end, for late clients; empty if there is nothing to tell.
	Condition, URI, Payload string
}

// An Answer is a given answer.
type Answer struct {
	Rid  int64
	Sum  uint64 // hash of the request; 0 matches all
	Key  string // the key that a repeat must have, or ""
	Body []byte
}

// An Entry is a Session and its answers. There may be many at a time, and they are
// rarely looked at. So it is a single string: it takes little overhead, and the
// garbage collector need not look into it.
type Entry struct {
	text string // see encode
}

const (
	legacy = 1 << iota
	secure
	told // there is a Condition
	moved
)

// encode appends the text of an Entry to b. The sid comes first.
func encode(b []byte, l *Session, answers []Answer) []byte {
	flags := byte(0)
	if l.Legacy {
		flags |= legacy
	}
	if l.Secure {
		flags |= secure
	}
	if l.Condition != "" {
		flags |= told
	}
	if l.Moved {
		flags |= moved
	}
	b = append(append(append(b, byte(len(l.SID))), l.SID...), flags)
	b = field(field(b, l.Content), l.Cert)
	if l.Condition != "" {
		b = field(field(field(b, l.Condition), l.URI), l.Payload)
	}
	for i := range answers {
		a := &answers[i]
		b = binary.BigEndian.AppendUint64(binary.AppendVarint(b, a.Rid), a.Sum)
		b = field(field(b, a.Key), a.Body)
	}
	return b
}

// maxSize returns how many bytes the text has at most.
func maxSize(l *Session, answers []Answer) int {
	const length = binary.MaxVarintLen64
	n := 1 + len(l.SID) + 1 + 5*length + len(l.Content) + len(l.Cert) + len(l.Condition) + len(l.URI) + len(l.Payload)
	for i := range answers {
		n += length + 8 + length + len(answers[i].Key) + length + len(answers[i].Body)
	}
	return n
}

// sidOf returns the sid in a text of encode.
func sidOf[T string | []byte](text T) T { return text[1:][:text[0]] }

// field appends s and, before it, its length.
func field[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// SID returns the sid.
func (s Entry) SID() string { return sidOf(s.text) }

// Session returns all but the answers.
func (s Entry) Session() Session {
	l, _ := s.read()
	return l
}

// Answer returns the answer to a repeated request, or nil.
func (s Entry) Answer(rid int64, sum uint64, key []byte) []byte {
	for _, r := s.read(); len(r) > 0; {
		a := r.answer()
		if a.Rid != rid {
			continue
		}
		if a.Sum != sum && a.Sum != 0 || a.Key != "" && a.Key != string(key) {
			return nil
		}
		return a.Body
	}
	return nil
}

func (s Entry) read() (l Session, answers reader) {
	l.SID = s.SID()
	r := reader(s.text[1+len(l.SID):])
	flags := r[0]
	r = r[1:]
	l.Legacy, l.Secure, l.Moved = flags&legacy != 0, flags&secure != 0, flags&moved != 0
	l.Content = string(r.field())
	l.Cert = r.field()
	if flags&told != 0 {
		l.Condition, l.URI, l.Payload = string(r.field()), string(r.field()), string(r.field())
	}
	return l, r
}

// A reader is the unread rest of an Entry.
type reader []byte

func (r *reader) field() []byte {
	n, size := binary.Uvarint(*r)
	b := (*r)[size : size+int(n)]
	*r = (*r)[size+int(n):]
	return b
}

func (r *reader) answer() (a Answer) {
	rid, size := binary.Varint(*r)
	a.Rid, a.Sum = rid, binary.BigEndian.Uint64((*r)[size:])
	*r = (*r)[size+8:]
	a.Key = string(r.field())
	a.Body = r.field()
	return a
}
