package boshnats

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/gobosh/bosh"
	"github.com/nats-io/nats.go"
)

// A leaving node hands its sessions over to a successor, one after the other. The successor
// gets the names, too, at the end of the sids: it subscribes to their subjects. Until the
// other has left it serves nothing from there, and the other passes on what it has not.

// An heir is the successor's record of one leaving node.
type heir struct {
	from   string // the instance that leaves
	by     string // its name
	names  []string
	subs   []*nats.Subscription
	active bool // the other has left, or is not to be heard any more
	left   bool // it has said so

	last     uint64 // the number of the last session, and whether it is here
	ok       bool
	at       time.Time
	sessions []*bosh.Session
}

// maxNames is how many names a node may have besides its own.
const maxNames = 1000

// maxRest is the longest pause between two sessions.
const maxRest = 2 * time.Millisecond

var (
	errNoHeir  = errors.New("boshnats: no other node takes sessions over: see Options.Adopt")
	errNobody  = errors.New("boshnats: HandOver is for a node that serves a Handler")
	errRefuses = errors.New("boshnats: the successor has refused a session")
	errUnsure  = errors.New("boshnats: nobody knows whether the successor has got a session: it does not go on here")
)

// HandOver has another node go on with all sessions of the Handler that this one serves, and
// returns when none is left, or ctx is done. It drains the Handler, as [bosh.Handler.Drain]
// does: new sessions are refused, and those that are left when ctx is done are ended. Then
// it returns an error with the last reason why a session was left. Tell the balancer before.
//
// export is called with one session after the other. It has the application stop with this
// session, and returns what [bosh.Session.Export] does, or its error: then it has the
// application go on, and is called again later. A session whose export has succeeded goes on
// here if the successor refuses it, or has died: as a new one does, with
// [bosh.Stream.Imported]. So it does at the successor, which is the node with
// [Options.Adopt] that has the fewest sessions.
//
// A session never goes on in two places. If the successor cannot be asked any more whether it
// has got one, and is not dead for sure, the session does not go on here: then it is there, or
// its client is told item-not-found. That is logged, and HandOver returns an error in the end.
//
// Until Leave this node passes requests on to the successor. Call Shutdown of the Handler
// behind HandOver, and then Leave.
func (n *Node) HandOver(ctx context.Context, export func(context.Context, *bosh.Session) ([]byte, error)) error {
	h := n.h.Load()
	if h == nil {
		return errNobody
	}
	go h.Drain(ctx) // which ends when no session is left, or with ctx
	for !h.Draining() {
		time.Sleep(time.Millisecond) // or one that leaves, too, might have this one as its successor
	}
	var why, unsure error
	var frozen []time.Duration
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		left, refused := 0, 0
		for s := range h.Sessions() {
			if refused > 3 { // the other is full, or older: leave the clients of the rest alone
				left++
				break
			}
			if ctx.Err() != nil {
				return errors.Join(ctx.Err(), why, unsure)
			}
			to, err := n.heir()
			if err == nil {
				began := time.Now()
				if err = n.give(ctx, h, to, s, export); err == nil {
					to.has++
					took := time.Since(began)
					frozen = append(frozen, took)
					time.Sleep(min(took, maxRest)) // so that others are served as ever
					continue
				}
			}
			if why = err; err == errUnsure {
				unsure = err
				continue
			}
			if errors.Is(err, errRefuses) {
				refused++
			}
			if s.Err() == nil || errors.Is(s.Err(), bosh.ErrMoved) { // and is back
				left++
			}
		}
		if left == 0 {
			break
		}
		if to := n.next.Load(); refused > 0 && to != nil && to.has == 0 {
			to.refuses = true // perhaps another one does not
			n.next.Store(nil)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	if len(frozen) > 0 {
		slices.Sort(frozen)
		n.o.Logger.Info("boshnats: sessions were handed over", "node", n.o.Name, "to", n.successor(), "sessions", len(frozen),
			"p99", frozen[len(frozen)*99/100], "longest", frozen[len(frozen)-1])
	}
	return unsure
}

// successor returns the name of the one that takes over, or "".
func (n *Node) successor() string {
	if p := n.next.Load(); p != nil {
		return p.name
	}
	return ""
}

// lives reports whether an instance of a node is there, as far as is known.
func (n *Node) lives(p *peer) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	q := n.peers[p.name]
	return q != nil && !q.dead && q.instance == p.instance
}

// died reports whether the process of an instance is dead for sure.
func (n *Node) died(p *peer) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	q := n.peers[p.name]
	return q != nil && q.instance == p.instance && q.died
}

// heir returns the successor, and looks for one if there is none, or none any more. If it has
// left, its own successor has what it had.
func (n *Node) heir() (*peer, error) {
	former := n.next.Load()
	if former != nil && n.lives(former) {
		return former, nil
	}
	only := n.successorOf(former)
	stats := n.Stats()
	slices.SortStableFunc(stats, func(a, b NodeStats) int { return int(a.Sessions - b.Sessions) })
	n.mu.Lock()
	names := []string{n.o.Name}
	for _, x := range n.heirs {
		names = append(names, x.names...)
	}
	n.mu.Unlock()
	var refusing []*peer
	for _, s := range stats {
		n.mu.Lock()
		p := n.peers[s.Node]
		n.mu.Unlock()
		if p == nil || p.of != "" || only != "" && p.name != only {
			continue
		}
		if p.refuses {
			refusing = append(refusing, p)
			continue
		}
		if _, err := n.request(p, offered, offered, []byte(n.instance+" "+strings.Join(names, " "))); err == nil {
			n.next.Store(p)
			return p, nil
		}
	}
	for _, p := range refusing { // the next time
		p.refuses = false
	}
	return nil, errNoHeir
}

// successorOf returns the node that has taken over from p, or "".
func (n *Node) successorOf(p *peer) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p == nil || n.peers[p.name] == nil {
		return ""
	}
	return n.peers[p.name].of
}

// request asks a node, and waits for its answer for a while.
func (n *Node) request(p *peer, kind, portion byte, m []byte) ([]byte, error) {
	type result struct {
		b   []byte
		err error
	}
	id, done := n.ids.Add(1), make(chan result, 1)
	n.mu.Lock()
	n.waiting[id] = &call{to: p.name, probe: true, answer: func(b []byte, err error) { done <- result{bytes.Clone(b), err} }}
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		delete(n.waiting, id)
		n.mu.Unlock()
	}()
	if err := n.sendAs(kind, portion, n.subject(p.name), n.replyTo(id), m); err != nil {
		return nil, err
	}
	select {
	case r := <-done:
		return r.b, r.err
	case <-n.quit:
		return nil, errLeft
	case <-time.After(time.Second):
		return nil, errLost
	}
}

// give moves a session, or has it go on here.
func (n *Node) give(ctx context.Context, h *bosh.Handler, to *peer, s *bosh.Session, export func(context.Context, *bosh.Session) ([]byte, error)) error {
	state, err := export(ctx, s)
	if err != nil {
		return err
	}
	n.given++
	head := append(binary.AppendUvarint(nil, n.given), n.instance...)
	_, err = n.request(to, handed, handedPart, append(slices.Clip(head), state...))
	if err == errLost {
		err = n.arrived(ctx, to, head)
	}
	switch err {
	case nil:
		return nil
	case errUnsure:
		n.o.Logger.Error(err.Error(), "node", n.o.Name, "to", to.name, "session", s.ID())
		return err
	}
	if _, back := h.Import(state); back != nil {
		n.o.Logger.Error("boshnats: a session was lost as it was to be handed over", "node", n.o.Name, "session", s.ID(), "error", back)
		return back
	}
	return errors.Join(errRefuses, err)
}

// arrived asks a node until it says whether a session has come. The session is frozen
// meanwhile. The error is errUnsure if the node cannot be asked any more.
func (n *Node) arrived(ctx context.Context, to *peer, head []byte) error {
	for {
		if n.died(to) {
			return errLost // and the session with it, if it has come
		}
		if ctx.Err() != nil || !n.lives(to) {
			return errUnsure
		}
		time.Sleep(max(n.o.Heartbeat/10, time.Millisecond))
		if _, err := n.request(to, question, question, head); err == nil || errors.Is(err, errRefused) {
			return err
		}
	}
}

// heirOf returns what there is about the instance that leaves. The caller holds the lock.
func (n *Node) heirOf(from string) *heir {
	for _, x := range n.heirs {
		if x.from == from {
			return x
		}
	}
	return nil
}

// offer gets the names of a node that leaves.
func (n *Node) offer(data []byte) bool {
	f := strings.Fields(string(data))
	h := n.h.Load()
	if len(f) < 2 || !n.o.Adopt || h == nil || h.Draining() {
		return false
	}
	x := &heir{from: f[0], by: f[1], names: f[1:], at: time.Now()}
	n.mu.Lock()
	known, all := n.heirOf(x.from) != nil, len(x.names)
	for _, y := range n.heirs {
		all += len(y.names)
	}
	n.mu.Unlock()
	if known {
		return true
	}
	if all > maxNames {
		return false
	}
	for _, name := range x.names {
		if bosh.CheckNode(name) != nil || name == n.o.Name {
			return false
		}
	}
	for _, name := range x.names {
		sub, err := n.nc.Subscribe(n.subject(name), func(m *nats.Msg) {
			n.mu.Lock()
			serves := n.server(name) == x
			n.mu.Unlock()
			if serves {
				n.serveAt(m, true)
			}
		})
		if err != nil {
			x.leave()
			return false
		}
		x.subs = append(x.subs, sub)
	}
	n.nc.Flush()
	n.mu.Lock()
	n.heirs = append(n.heirs, x)
	n.mu.Unlock()
	n.beat() // so that all others know, if that one dies
	return true
}

func (x *heir) leave() {
	for _, sub := range x.subs {
		sub.Unsubscribe()
	}
}

// takeOver gets a session, or the question whether it has come, and returns nil if it is
// here.
func (n *Node) takeOver(data []byte, ask bool) error {
	k, size := binary.Uvarint(data)
	h := n.h.Load()
	if size <= 0 || len(data) < size+len(n.instance) || h == nil {
		return errRefused
	}
	from, state := string(data[size:size+len(n.instance)]), data[size+len(n.instance):]
	n.mu.Lock()
	defer n.mu.Unlock()
	x := n.heirOf(from)
	switch {
	case x != nil && k == x.last && x.ok:
		return nil
	case x == nil || k <= x.last:
		return errRefused
	}
	x.last, x.ok, x.at = k, false, time.Now() // what comes later than the question is too late
	if ask {
		return errRefused
	}
	n.mu.Unlock()
	s, err := h.Import(state)
	if err != nil {
		n.o.Logger.Warn("boshnats: a session is not taken over", "from", x.by, "error", err)
	}
	n.mu.Lock()
	if x.ok = err == nil; x.ok {
		x.sessions = append(x.sessions, s)
	}
	return err
}

// succeed is called when a node has left whose sessions are here, as it has said or as others
// find.
func (n *Node) succeed(from string, left bool) (known bool) {
	n.mu.Lock()
	x := n.heirOf(from)
	if x != nil {
		known, x.active, x.left, x.at = true, true, x.left || left, time.Now()
	}
	n.mu.Unlock()
	if known {
		n.beat()
	}
	return known
}

// bequeath has the successor serve the names, and reports who it is.
func (n *Node) bequeath() string {
	for began := time.Now(); time.Since(began) < n.o.Patience; time.Sleep(max(n.o.Heartbeat/10, time.Millisecond)) {
		p := n.next.Load()
		if p == nil || !n.lives(p) && n.successorOf(p) == "" {
			return ""
		}
		p, err := n.heir()
		if err == nil {
			_, err = n.request(p, taken, taken, []byte(n.instance))
		}
		switch err {
		case nil:
			return p.name
		case errRefused:
			return ""
		}
	}
	return ""
}

// disown drops what there is about an instance that has left, and named another successor.
func (n *Node) disown(from string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if x := n.heirOf(from); x != nil {
		x.leave()
		n.heirs = slices.DeleteFunc(n.heirs, func(y *heir) bool { return y == x })
	}
}

// afterlife is how long a name is kept without a session.
const afterlife = 30 * time.Second

// prune forgets the names without a session.
func (n *Node) prune() {
	now := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.heirs = slices.DeleteFunc(n.heirs, func(x *heir) bool {
		x.sessions = slices.DeleteFunc(x.sessions, func(s *bosh.Session) bool { return s.Err() != nil })
		if len(x.sessions) > 0 {
			x.at = now
		}
		if now.Sub(x.at) < afterlife || len(x.sessions) > 0 || !x.active { // or more may come
			return false
		}
		x.leave()
		return true
	})
}

// adopted returns whether a name is one of those taken over, and whether its node has left.
// The caller holds the lock.
func (n *Node) adopted(name string) (is, active bool) {
	for _, x := range n.heirs {
		is = is || slices.Contains(x.names, name)
	}
	return is, n.server(name) != nil
}

// server returns the record of a node that has left, if this node serves the name for it, or
// nil. The caller holds the lock.
func (n *Node) server(name string) *heir {
	p := n.peers[name]
	lives := p != nil && !p.dead && p.of == ""
	for _, x := range n.heirs {
		if slices.Contains(x.names, name) && x.active && (!lives || x.left && x.by == name) {
			return x
		}
	}
	return nil
}

// alias takes note that p, which was heard, has the name of another node. It returns the
// calls that are to be asked again. The caller holds the lock.
func (n *Node) alias(p *peer, name string) (again []*call) {
	q := n.peers[name]
	switch {
	case name == n.o.Name || name == p.name || bosh.CheckNode(name) != nil:
		return nil
	case q != nil && !q.dead && q.instance != p.instance: // which has not left
		q.heir = p.name
		return nil
	case q == nil || q.of != p.name || q.dead:
		r := &peer{name: name, of: p.name}
		if q != nil {
			r.former = q.instance
			again = n.take(func(c *call) bool { return c.to == name && !c.probe })
		}
		n.peers[name] = r
		q = r
	}
	q.instance, q.addr, q.heard, q.beat, q.beats = p.instance, p.addr, p.heard, p.beat, p.beats
	q.absent, q.via = false, ""
	return again
}

// inherit has the living heir of p take its place, and that of the names that it had. The
// caller holds the lock.
func (n *Node) inherit(p *peer, name string) (again []*call, ok bool) {
	h := n.peers[name]
	if name == "" || h == nil || h.dead || h == p {
		return nil, false
	}
	var all []*peer
	for _, q := range n.peers {
		if q == p || q.of == p.name {
			all = append(all, q)
		}
	}
	for _, q := range all {
		q.dead = true
		again = append(again, n.alias(h, q.name)...)
	}
	return append(again, n.leaveWay(p.name)...), true
}
