package boshnats

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gobosh/bosh"
	"github.com/nats-io/nats.go"
)

// A heartbeat is the node's name, its instance, its number of heartbeats so far, and
// its address, if it has one. A gap in the numbers means lost messages.

// beat sends a heartbeat.
func (n *Node) beat() {
	n.beating.Lock()
	defer n.beating.Unlock()
	if n.silent {
		return
	}
	n.beats++
	text := n.o.Name + " " + n.instance + " " + strconv.FormatUint(n.beats, 10) + " " + n.o.Addr
	n.mu.Lock()
	for i, x := range n.heirs {
		if i == 0 {
			text += " +"
		} else {
			text += ","
		}
		text += strings.Join(x.names, ",")
	}
	n.mu.Unlock()
	n.nc.Publish(n.o.Subject+".up", []byte(text))
}

// heard gets the heartbeats of all nodes, and their questions after others.
func (n *Node) heard(m *nats.Msg) {
	f := bytes.Fields(m.Data)
	if len(f) == 0 || bosh.CheckNode(string(f[0])) != nil {
		return
	}
	name := string(f[0])
	if len(f) < 3 {
		n.asked(name, m.Reply)
		return
	}
	instance, addr, bye := string(f[1]), "", string(f[2]) == "bye"
	beats, err := strconv.ParseUint(string(f[2]), 10, 64)
	if err != nil && !bye {
		return
	}
	var names []string // that it has taken over; or the one that takes over from it
	for _, x := range f[3:] {
		if more, ok := bytes.CutPrefix(x, []byte("+")); ok && len(more) < 40*maxNames {
			names = strings.Split(string(more), ",")
		} else {
			addr = string(x)
		}
	}
	if name == n.o.Name {
		if instance != n.instance && !bye {
			n.double(instance, beats)
		}
		return
	}
	if bye && addr != "" && addr != n.o.Name {
		n.disown(instance)
	}
	n.mu.Lock()
	p := n.peers[name]
	if p != nil && p.of != "" && p.former == instance {
		n.mu.Unlock() // it has left, and said this before
		return
	}
	if p != nil && p.of == "" && !p.dead && p.instance != instance && !bye && beats < p.beats && time.Since(p.beat) < 2*n.o.Heartbeat {
		n.mu.Unlock() // two processes have the name: see double
		return
	}
	if bye {
		var again []*call
		if p != nil && p.instance == instance && addr != "" {
			again, bye = n.inherit(p, addr)
			bye = !bye
		}
		n.mu.Unlock()
		answerAll(again, bosh.ErrMoved)
		if bye && p != nil && p.instance == instance {
			n.gone(p, hasLeft, false)
		}
		return
	}
	var lost, gone []*call
	var before *peer
	known := p != nil && !p.dead && p.instance == instance
	switch {
	case p != nil && p.of != "": // it lives, and the other waits for its end
		p = &peer{name: name, instance: instance, heir: p.of}
		n.peers[name] = p
	case p == nil || p.instance != instance:
		if before = p; p != nil { // another process has taken its place
			lost = n.leaveWay(name)
			ofIt := func(c *call) bool { return c.to == name }
			if !p.dead && time.Since(p.beat) < 2*n.o.Heartbeat { // or has been there all the time
				lost = append(lost, n.take(ofIt)...)
			} else {
				gone = n.take(ofIt)
			}
		}
		p = &peer{name: name, instance: instance}
		n.peers[name] = p
	case beats != p.beats+1:
		lost = n.take(func(c *call) bool {
			q := n.peers[c.to]
			return (c.to == name || q != nil && q.of == name) && c.via == "" || c.via == name
		})
	}
	now := time.Now()
	p.heard, p.beat, p.beats, p.addr = now, now, beats, addr
	p.dead, p.absent, p.via = false, false, ""
	var again []*call
	for _, other := range names {
		again = append(again, n.alias(p, other)...)
	}
	var dropped []*peer
	for _, q := range n.peers {
		if q.of == name && !q.dead && q.beats != beats {
			dropped = append(dropped, q)
		}
	}
	replaced := n.replacedBy(p)
	n.mu.Unlock()
	answerAll(again, bosh.ErrMoved)
	for _, q := range dropped {
		n.gone(q, hasNone, false)
	}
	n.tell(before, gone)
	answerAll(lost, errLost)
	if replaced != nil {
		n.gone(replaced, "another process has its address", true)
	}
	if !known {
		n.o.Logger.Info("boshnats: a node is there", "node", name)
		n.beat() // so that it hears of us at once
	}
}

// A twin is another process that has the name of this node.
type twin struct {
	instance    string
	first, last time.Time // when it was heard
}

// double is called when another process has the name of this node, which could not be seen
// when the later one of them joined. The later one gives way, so that all that the other has
// goes on. Until it is sure that this is no late message it serves nobody.
func (n *Node) double(instance string, beats uint64) {
	n.beating.Lock()
	later := n.beats < beats || n.beats == beats && n.instance > instance
	n.beating.Unlock()
	now := time.Now()
	n.mu.Lock()
	before := n.twin
	if n.twin.last = now; before.instance != instance || now.Sub(before.last) > 4*n.o.Heartbeat {
		n.twin = twin{instance, now, now}
	}
	sure := now.Sub(n.twin.first) > 2*n.o.Heartbeat
	n.mu.Unlock()
	n.doubted.Store(later)
	switch {
	case later && sure:
		n.yield()
	case !later && before.instance != instance:
		n.o.Logger.Error("boshnats: another process has the name of this node, and is to give way", "node", n.o.Name)
	}
}

// yield gives way to the other process of the name.
func (n *Node) yield() {
	n.beating.Lock()
	done := n.silent
	n.silent = true
	n.beating.Unlock()
	if done {
		return
	}
	n.own.Unsubscribe()
	n.o.Logger.Error("boshnats: another process has had the name of this node for longer: other nodes pass nothing on to this one any more, and it takes no new sessions; give it a name of its own", "node", n.o.Name)
	if h := n.h.Load(); h != nil {
		n.drain(h)
	}
}

// drain has h take no new sessions. It ends the others only when the node leaves.
func (n *Node) drain(h *bosh.Handler) {
	ctx, cancel := context.WithCancel(context.Background())
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.start(func() { h.Drain(ctx) }) {
		cancel()
		return
	}
	n.start(func() {
		<-n.quit
		cancel()
	})
}

// replacedBy returns the older node at the address of p, if any. The caller holds
// the lock.
func (n *Node) replacedBy(p *peer) *peer {
	if p.addr == "" {
		return nil
	}
	for _, q := range n.peers {
		if q != p && !q.dead && q.instance != p.instance && q.addr == p.addr && q.beat.Before(p.beat.Add(-2*n.o.Heartbeat)) {
			return q
		}
	}
	return nil
}

// forget is how long a gone node is remembered.
const forget = time.Hour

// run sends heartbeats, and looks after those of others.
func (n *Node) run(lost chan nats.Status) {
	tick := time.NewTicker(max(n.o.Heartbeat/3, time.Millisecond))
	defer tick.Stop()
	var dropped int
	for i := 1; ; i++ {
		select {
		case <-n.quit:
			return
		case <-lost:
			n.lose()
			continue
		case <-tick.C:
		}
		if n.look(); i%3 != 0 {
			continue
		}
		if !n.nc.IsConnected() {
			n.lose() // clients may find another front, which is connected
		}
		// If we are too slow NATS drops messages, and somebody waits for them.
		if i%30 == 0 {
			n.prune()
		}
		sum := n.dropped()
		if sum != dropped {
			dropped = sum
			n.beating.Lock()
			n.beats++ // a gap, which others will see
			n.beating.Unlock()
			n.lose()
		}
		n.beat()
	}
}

// dropped returns how many messages to this node NATS has dropped.
func (n *Node) dropped() (sum int) {
	n.mu.Lock()
	all := slices.Clone(n.subs)
	for _, x := range n.heirs {
		all = append(all, x.subs...)
	}
	n.mu.Unlock()
	for _, s := range all {
		d, _ := s.Dropped() // an error when it is over
		sum += max(d, 0)
	}
	return sum
}

// lose fails all requests with possibly lost answers.
func (n *Node) lose() {
	n.mu.Lock()
	lost := n.take(func(c *call) bool { return !c.probe })
	n.mu.Unlock()
	answerAll(lost, errLost)
}

// look finds the nodes not heard for too long.
func (n *Node) look() {
	now := time.Now()
	connected := n.nc.IsConnected()
	var late []*peer
	n.mu.Lock()
	for name, p := range n.peers {
		switch age := now.Sub(p.heard); {
		case p.dead && age > forget:
			delete(n.peers, name)
		case p.dead:
		case !connected: // nobody can be heard
			p.heard = now
		case age > 2*n.o.Heartbeat:
			late = append(late, p)
		}
	}
	for id, since := range n.strangers {
		c := n.waiting[id]
		if c == nil || n.peers[c.to] != nil {
			delete(n.strangers, id)
		} else if now.Sub(since) > 2*n.o.Heartbeat && n.inquire(id, c.to) {
			delete(n.strangers, id)
		}
	}
	for reply, p := range n.partial {
		if now.Sub(p.at) > 10*n.o.Patience {
			n.parts -= len(p.b)
			delete(n.partial, reply)
		}
	}
	if now.Sub(n.twin.last) > 2*n.o.Heartbeat {
		n.doubted.Store(false)
	}
	n.mu.Unlock()
	for _, p := range late {
		n.seek(p)
	}
}
