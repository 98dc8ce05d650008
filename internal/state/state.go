// Package state has a session as bytes, for another process to go on with. It is data
// alone: package session says how a machine becomes such data and is made of it.
//
// The bytes begin with "BOSH" and the number of the version. All else is in [Session] and
// the types in it, in the order in which their code methods name the fields. A version is
// never changed once it was released: a new field has the condition
//
//	if c.version >= 2 {
//
// and TestGolden keeps bytes of each version that is read. The build tag boshnext makes a
// program of the version after this one, for tests: see next.go.
package state

import (
	"bytes"
	"time"
)

// Version is what Append writes, and Oldest what Read still reads: the one before.
const (
	Version = 1
	Oldest  = 1
)

const magic = "BOSH"

// A Session is what there is to know of a session. All times are ages, or what is left,
// since the clocks of two processes differ.
type Session struct {
	SID    string
	Grant  Grant
	Secure bool
	Origin Origin
	Label  string
	Age    time.Duration
	Heard  time.Duration // since the last request
	App    []byte        // the application's

	Window  Window
	Pause   uint16        // granted, in seconds; 0 if none
	Idle    time.Duration // since it had a request
	Sent    *Sent         // nil if no payload has been sent
	Vain    uint8         // bodies without a reply of late
	Streams []Stream
	Company *Company // nil unless there are several streams, or were
}

// A Grant is what client and server agreed on.
type Grant struct {
	Wait, Inactivity, Polling, Pause time.Duration
	Hold, Requests                   int
	Ver, Content                     string
	Legacy, Acks, Streams            bool
}

// An Origin is the request that created the session.
type Origin struct {
	Fields []string // of package reqinfo
	Addr   *string  // where it came from, if that is known better
	TLS    *TLS
}

// A TLS is what is kept of a connection.
type TLS struct {
	Version, Cipher uint16
	Server, Proto   string
	Certs           [][]byte // of the client
}

// A Window is that of the rids.
type Window struct {
	Last, Acked         int64
	Arrived             time.Duration // since the last one came
	Keep, Empty, Beyond bool
	Next                *string // nil if there are no keys
	Records             []Record
}

// A Record is that of one rid.
type Record struct {
	Rid                                       int64
	State                                     uint8 // as below
	Pause, End, Empty, Release, Payload, Seen bool
	At                                        time.Duration // since it came, or was answered
	Sum                                       uint64        // 0 for the creation
	Key                                       *string
	Body                                      []byte // the answer; or the request, if it is early
	Of                                        uint16
	Load                                      uint32
	Left                                      time.Duration // of its wait, if it is open
	Opener                                    int           // the stream that its answer names, if it is open: its place and one more
	Lost                                      *Lost
}

// The State of a Record.
const (
	Early    = 0
	Open     = 1
	Answered = 2
)

// A Lost is an answer that the client seems to have lost.
type Lost struct {
	Rid int64
	Age time.Duration
}

// A Sent is the last answer with payloads that was written.
type Sent struct {
	Age time.Duration
	Rid int64
}

// A Company is what there is to streams of which there are several.
type Company struct {
	Named  bool
	Opened uint16
	Turn   int
	Left   []string
}

// A Stream is one stream.
type Stream struct {
	Framing, Name, Local string
	Number, Foreign      uint16
	Opening              Opening
	In                   []byte
	Marks                []Mark
	Out                  []byte
	Count, Given         int64
	Head                 *Head // to be told
	Announced, Lapsed    bool
	Naming, Restarts     uint8
	Cut                  *Cut
}

// A Mark is an end in the input.
type Mark struct {
	End  int
	Last bool
}

// An Opening is what the client said.
type Opening struct {
	To, From, Lang, Route, Version string
	Wait                           time.Duration
	Attr                           []Attr
}

// An Attr is an attribute of it.
type Attr struct{ Space, Local, Value string }

// A Head is the server's header.
type Head struct{ ID, From, To, Version, Lang string }

// A Cut is where an XMPP stream is that the application has opened.
type Cut struct {
	Root     string
	Bindings []Binding // nil if they are the usual ones
}

// A Binding is a prefix in force.
type Binding struct{ Prefix, URI string }

// A format is what a program writes, and reads.
type format struct {
	oldest, version byte
	code            func(*Session, *codec) // the fields of all these versions
}

// Append appends s to b.
func (s *Session) Append(b []byte) []byte { return present.write(b, s) }

func (f format) write(b []byte, s *Session) []byte {
	c := codec{b: append(append(b, magic...), f.version), version: f.version}
	f.code(s, &c)
	return c.b
}

// Read reads a Session. What it has of bytes is part of b. The error says so if b is of a
// later version.
func Read(b []byte) (*Session, error) { return present.read(b) }

func (f format) read(b []byte) (*Session, error) {
	rest, ok := bytes.CutPrefix(b, []byte(magic))
	if !ok || len(rest) == 0 {
		return nil, errState
	}
	c := codec{b: rest[1:], reads: true, version: rest[0]}
	if c.version < f.oldest || c.version > f.version {
		return nil, f.other(c.version)
	}
	s := new(Session)
	if f.code(s, &c); c.err == nil && (len(c.b) > 0 || !s.valid()) {
		c.fail()
	}
	if c.err != nil {
		return nil, c.err
	}
	return s, nil
}

const (
	maxRid   = 1<<53 - 1
	maxCount = 1 << 50
)

func (s *Session) code(c *codec) {
	c.texts(&s.SID, &s.Label)
	s.Grant.code(c)
	c.flags(&s.Secure)
	s.Origin.code(c)
	c.times(&s.Age, &s.Heard, &s.Idle)
	c.bytes(&s.App)
	s.Window.code(c)
	number(c, &s.Pause, 1<<16-1)
	number(c, &s.Vain, 100)
	maybe(c, &s.Sent, func(x *Sent) {
		c.times(&x.Age)
		number(c, &x.Rid, maxRid)
	})
	list(c, &s.Streams, 16, func(st *Stream) { st.code(c) })
	maybe(c, &s.Company, func(x *Company) {
		c.flags(&x.Named)
		number(c, &x.Opened, 1<<16-1)
		number(c, &x.Turn, 1<<16)
		list(c, &x.Left, 1, func(name *string) { c.texts(name) })
	})
}

func (g *Grant) code(c *codec) {
	c.times(&g.Wait, &g.Inactivity, &g.Polling, &g.Pause)
	number(c, &g.Hold, 1<<15-2)
	number(c, &g.Requests, 1<<15-1)
	c.texts(&g.Ver, &g.Content)
	c.flags(&g.Legacy, &g.Acks, &g.Streams)
}

func (o *Origin) code(c *codec) {
	list(c, &o.Fields, 1, func(s *string) { c.texts(s) })
	maybe(c, &o.Addr, func(s *string) { c.texts(s) })
	maybe(c, &o.TLS, func(t *TLS) {
		number(c, &t.Version, 1<<16-1)
		number(c, &t.Cipher, 1<<16-1)
		c.texts(&t.Server, &t.Proto)
		list(c, &t.Certs, 1, func(b *[]byte) { c.bytes(b) })
	})
}

func (w *Window) code(c *codec) {
	number(c, &w.Last, maxRid)
	number(c, &w.Acked, maxRid)
	c.times(&w.Arrived)
	c.flags(&w.Keep, &w.Empty, &w.Beyond)
	maybe(c, &w.Next, func(s *string) { c.texts(s) })
	list(c, &w.Records, 16, func(r *Record) { r.code(c) })
}

func (r *Record) code(c *codec) {
	number(c, &r.Rid, maxRid)
	number(c, &r.State, Answered)
	c.flags(&r.Pause, &r.End, &r.Empty, &r.Release, &r.Payload, &r.Seen)
	c.times(&r.At)
	c.fixed(&r.Sum)
	maybe(c, &r.Key, func(s *string) { c.texts(s) })
	c.bytes(&r.Body)
	number(c, &r.Of, 1<<16-1)
	number(c, &r.Load, 1<<32-1)
	if r.State == Open {
		c.times(&r.Left)
		number(c, &r.Opener, 1<<16)
		maybe(c, &r.Lost, func(l *Lost) {
			number(c, &l.Rid, maxRid)
			c.times(&l.Age)
		})
	}
}

func (st *Stream) code(c *codec) {
	c.texts(&st.Framing, &st.Name, &st.Local)
	number(c, &st.Number, 1<<16-1)
	number(c, &st.Foreign, 1<<16-1)
	o := &st.Opening
	c.texts(&o.To, &o.From, &o.Lang, &o.Route, &o.Version)
	c.times(&o.Wait)
	list(c, &o.Attr, 3, func(a *Attr) { c.texts(&a.Space, &a.Local, &a.Value) })
	c.bytes(&st.In)
	list(c, &st.Marks, 2, func(m *Mark) {
		number(c, &m.End, uint64(len(st.In)))
		c.flags(&m.Last)
	})
	c.bytes(&st.Out)
	number(c, &st.Count, maxCount)
	number(c, &st.Given, maxCount)
	maybe(c, &st.Head, func(h *Head) { c.texts(&h.ID, &h.From, &h.To, &h.Version, &h.Lang) })
	c.flags(&st.Announced, &st.Lapsed)
	number(c, &st.Naming, 2)
	number(c, &st.Restarts, 2)
	maybe(c, &st.Cut, func(x *Cut) {
		c.texts(&x.Root)
		list(c, &x.Bindings, 2, func(b *Binding) { c.texts(&b.Prefix, &b.URI) })
	})
}
