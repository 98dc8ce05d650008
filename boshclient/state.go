package boshclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/gobosh/bosh/internal/knobs"
	"github.com/gobosh/bosh/internal/wire"
)

// A State is a session put aside, for [Resume]. [Conn.State] makes it. For a session
// opened elsewhere, the application fills in the fields. It goes through JSON.
//
// It gives access to the session: keep it like a password. As text it tells no secret.
type State struct {
	// URL is the server's, and Sid the id of the session.
	URL, Sid string

	// Rid is the rid of the next request. The server must have answered all before
	// it, or Conn.State must have made the State.
	Rid int64

	// Granted are the server's grants. If it is the zero value, the wishes of the
	// Options count, and inactivity has no limit. Times are at most 24 h.
	Granted Granted

	saved *saved // what a Conn has left; nil if there was none
}

// saved is the state of a Conn besides its session.
type saved struct {
	Framing Framing
	To      string
	Stream  string    `json:",omitempty"` // its name
	Open    []waiting // unanswered requests
	Out     []output
	Part    []byte   `json:",omitempty"` // of an element, written
	In      [][]byte // elements, or bytes
	Greeted bool
	Headers int      `json:",omitempty"`
	Fresh   bool     `json:",omitempty"`
	Keys    []string `json:",omitempty"`
	KeyLen  int      `json:",omitempty"`
}

// A waiting is a request without an answer.
type waiting struct {
	Text  []byte
	Kind  kind          `json:",omitempty"`
	Pause time.Duration `json:",omitempty"`
}

// An output is an unsent item.
type output struct {
	Kind kind      `json:",omitempty"`
	Data []byte    `json:",omitempty"`
	N    int64     `json:",omitempty"`
	To   string    `json:",omitempty"`
	From string    `json:",omitempty"`
	Lang string    `json:",omitempty"`
	Why  Condition `json:",omitempty"`
}

// plainState is a State without its methods.
type plainState struct {
	URL, Sid string
	Rid      int64
	Granted  Granted
	Saved    *saved `json:",omitempty"`
}

// MarshalJSON returns the state as JSON, its secrets included.
func (s State) MarshalJSON() ([]byte, error) {
	return json.Marshal(plainState{s.URL, s.Sid, s.Rid, s.Granted, s.saved})
}

// UnmarshalJSON reads the output of MarshalJSON.
func (s *State) UnmarshalJSON(b []byte) error {
	var p plainState
	if err := json.Unmarshal(b, &p); err != nil {
		return err
	}
	*s = State{p.URL, p.Sid, p.Rid, p.Granted, p.Saved}
	return nil
}

// String tells no secret.
func (s State) String() string { return "state of a BOSH session" }

// GoString is String.
func (s State) GoString() string { return s.String() }

var (
	errLive    = errors.New("state of a session that is not stopped: call CloseNow first")
	errStreams = errors.New("state of a session with several streams, or with a further one under way")
	errState   = errors.New("not the state of a session: it needs the URL, the Sid and the Rid of one, and is otherwise as Conn.State made it")
)

// State returns the session for [Resume], in this process or another, after
// [Conn.CloseNow]. It holds the unsent output, the unanswered requests, and the unread
// input, so nothing is lost or doubled. The server keeps the session for as long as it
// may be inactive. To have it kept for longer, call [Conn.Pause] before CloseNow.
//
// After a Write ended by CloseNow the queued part is unknown, but a WriteElement has
// queued all or nothing. State fails if CloseNow was not called, if the session had
// ended before it, or if the session has several streams or OpenStream was under way.
func (c *Conn) State() (*State, error) {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for c.writing && s.err != nil { // it ends soon
		c.wait(context.Background(), c.unlocked, &c.wdeadline)
	}
	wake(c.unlocked)
	switch {
	case s.state != nil:
	case s.err == nil:
		return nil, c.opError("save", errLive)
	case s.err != net.ErrClosed || s.end != nil || c.cause != net.ErrClosed:
		return nil, c.opError("save", fmt.Errorf("session has ended: %w", c.cause))
	case s.many || slices.ContainsFunc(s.open, func(r *request) bool { return r.kind == another }):
		return nil, c.opError("save", errStreams)
	default:
		s.state = &State{URL: s.url, Sid: s.sid, Rid: s.next, Granted: s.granted, saved: c.save()}
	}
	state := *s.state
	return &state, nil
}

// save returns the state of the Conn. It takes the input out of it.
func (c *Conn) save() *saved {
	s := c.s
	v := &saved{Framing: s.o.Framing, To: c.to, Stream: c.name, Greeted: c.greeted, Headers: c.headers, Fresh: c.fresh}
	for _, r := range s.open {
		v.Open = append(v.Open, waiting{r.text, r.kind, r.pause})
	}
	for _, it := range c.out.items {
		if it.kind != pause && it.kind != another { // whoever waits for it has been told
			v.Out = append(v.Out, output{Kind: it.kind, Data: it.b, N: it.n, To: it.to, From: it.from, Lang: it.lang, Why: it.why})
		}
	}
	if c.cut != nil {
		v.Part = append(v.Part, c.cut.Part()...)
	}
	for c.in.Len() > 0 {
		b := c.in.Next(nil)
		if len(b) == 0 { // bytes have no ends
			b = make([]byte, c.in.Len())
			c.in.Read(b)
		}
		v.In = append(v.In, b)
	}
	if s.keys != nil {
		v.Keys, v.KeyLen = s.keys.left, s.keys.n
	}
	return v
}

// Resume goes on with a session put aside. The Options are those of Dial. Options for
// the creation of a session are not used; the Framing and Version must be the same. It
// does not wait for the server: if the server has ended the session, Read and Write say
// so. ctx counts for its values only.
//
// With XMPP the stream goes on where it was, and neither side sends a header: a
// library would restart it by writing one.
func Resume(ctx context.Context, st *State, o *Options) (*Conn, error) {
	c, err := resume(ctx, st, o)
	if err != nil {
		return nil, fmt.Errorf("boshclient: resume: %w", err)
	}
	return c, nil
}

func resume(ctx context.Context, st *State, o *Options) (*Conn, error) {
	if st == nil {
		return nil, errState
	}
	cfg := o.withDefaults()
	cfg.manual = knobs.From(ctx).Manual
	u, err := cfg.parse(st.URL)
	if err != nil {
		return nil, err
	}
	v := st.saved
	if v == nil {
		v = &saved{Framing: cfg.Framing, To: cfg.To, Greeted: true}
	}
	if v.Framing != cfg.Framing {
		return nil, fmt.Errorf("state of a stream of %v, and Options.Framing is %v", v.Framing, cfg.Framing)
	}
	if st.Sid == "" || st.Rid <= int64(len(v.Open)) || st.Rid > maxRid || len(v.Open) > maxRequests+1 || !st.Granted.sane() {
		return nil, errState
	}
	s := newSession(ctx, u, cfg)
	s.sid, s.granted = st.Sid, st.Granted
	if s.granted == (Granted{}) {
		s.granted = Granted{Wait: cfg.Wait, Hold: cfg.Hold, Requests: cfg.Hold + 1, Ver: "1.6"}
	}
	s.o.patience(&s.granted)
	if v.KeyLen > 0 {
		if len(v.Keys) == 0 {
			return nil, errState
		}
		s.keys = &keys{left: v.Keys, n: max(v.KeyLen, 2)}
	}
	s.next, s.head = st.Rid, st.Rid-int64(len(v.Open))
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.newConn(v.Stream, v.To)
	if err := c.restore(v); err != nil {
		s.finish(err)
		return nil, err
	}
	for i, w := range v.Open {
		if err := s.repeatSaved(s.head+int64(i), c, w); err != nil {
			s.finish(err)
			return nil, err
		}
	}
	s.pump()
	return c, nil
}

// sane reports whether a server can have granted all this.
func (g *Granted) sane() bool {
	for _, d := range []time.Duration{g.Wait, g.Polling, g.Inactivity, g.MaxPause} {
		if d < 0 || d > maxGrant {
			return false
		}
	}
	return true
}

// restore puts the saved state of another Conn into a new one.
func (c *Conn) restore(v *saved) error {
	c.greeted, c.headers, c.fresh = v.Greeted, v.Headers, v.Fresh
	for _, b := range v.In {
		if len(b) == 0 {
			continue
		}
		if v.Framing == Opaque {
			c.in.Bytes(append(c.in.Buffer(len(b)), b...))
		} else {
			c.in.Element(append(c.in.Buffer(len(b)), b...), true)
		}
	}
	for _, o := range v.Out {
		if !o.Kind.savable() || o.Kind == empty || o.Kind == pause {
			return errState
		}
		if o.Kind == data {
			if v.Framing != Opaque && !whole(o.Data) {
				return errState
			}
			c.out.add(o.Data, o.N)
			continue
		}
		c.out.put(item{kind: o.Kind, to: o.To, from: o.From, lang: o.Lang, why: o.Why})
		c.finishing = c.finishing || o.Kind == terminate
	}
	if v.Framing == Opaque {
		return nil
	}
	c.cut = c.cutter(v.Greeted)
	if len(v.Part) > 0 {
		if _, err := c.cut.CutRun(v.Part, maxChunk); err != nil || !c.cut.Pending() {
			return errState
		}
	}
	return nil
}

// savable reports whether a session can be put aside with a request of this kind.
func (k kind) savable() bool { return k <= terminate && k != another }

// whole reports whether b is whole elements, as they are in a request.
func whole(b []byte) bool {
	ask := wire.Ask{Rid: 1, SID: "-", Payloads: [][]byte{b}, XMPP: true}
	return wellFormed(ask.Append(nil)) == nil
}

// repeatSaved sends a request of another Conn again.
func (s *session) repeatSaved(rid int64, c *Conn, w waiting) error {
	var was wire.Request
	was.Body = w.Text
	if err := was.Parse(wire.Limits{}); err != nil || was.Rid.N != rid || string(was.SID) != s.sid || !w.Kind.savable() || w.Pause < 0 {
		return errState
	}
	r := &request{rid: rid, kind: w.Kind, conn: c, pause: w.Pause, text: w.Text, sentAt: time.Now(), sent: make(chan struct{})}
	if last := len(s.open) - 1; last >= 0 {
		r.after = s.open[last].sent
	}
	s.open = append(s.open, r)
	s.pausing = s.pausing || r.pause > 0
	if r.kind == terminate {
		s.closing, c.finishing = true, true
	}
	s.stats.Repeats++
	s.running.Go(func() { s.carry(r) })
	return nil
}
