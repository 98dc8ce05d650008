// Package tomb keeps what is left of sessions that are over: the answers that
// their clients may ask for again.
package tomb

import "encoding/binary"

// A Life is what there is to know of a session besides its answers.
type Life struct {
	SID     string
	Content string // the Content-Type of its answers
	Legacy  bool   // its client sent no version
	Secure  bool   // it takes no insecure request
	Cert    []byte // the client's certificate, if it is secure and there was one
}

// An Answer is one that was given.
type Answer struct {
	Rid  int64
	Sum  uint64 // hash of the request; 0 matches all
	Key  string // the key that a repeat must have, or ""
	Body []byte
}

// A Stone is a Life and its answers. There may be many at a time, and they are
// rarely looked at, so it is a single string: it takes little room, and the
// garbage collector need not look into it.
type Stone struct {
	text string // see Carve; the sid comes first
	sid  uint8  // length of the sid
}

const (
	legacy = 1 << iota
	secure
)

// Carve makes a Stone. The sid may have up to 255 bytes.
func Carve(l *Life, answers []Answer) Stone {
	var room [512]byte
	flags := byte(0)
	if l.Legacy {
		flags |= legacy
	}
	if l.Secure {
		flags |= secure
	}
	b := append(append(room[:0], l.SID...), flags)
	b = field(field(b, l.Content), l.Cert)
	for _, a := range answers {
		b = binary.BigEndian.AppendUint64(binary.AppendVarint(b, a.Rid), a.Sum)
		b = field(field(b, a.Key), a.Body)
	}
	return Stone{text: string(b), sid: uint8(len(l.SID))}
}

// field appends s and, before it, its length.
func field[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// SID returns the sid.
func (s Stone) SID() string { return s.text[:s.sid] }

// Life returns all but the answers.
func (s Stone) Life() Life {
	l, _ := s.read()
	return l
}

// Answer returns the answer that a request gets which is a repeat, or nil.
func (s Stone) Answer(rid int64, sum uint64, key []byte) []byte {
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

func (s Stone) read() (l Life, answers reader) {
	l.SID = s.SID()
	flags, r := s.text[s.sid], reader(s.text[s.sid+1:])
	l.Legacy, l.Secure = flags&legacy != 0, flags&secure != 0
	l.Content = string(r.field())
	l.Cert = r.field()
	return l, r
}

// A reader is what of a Stone is still to be read.
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
