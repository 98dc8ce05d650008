package boshnats

import (
	"bytes"
	"strconv"
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
	n.beats++
	n.nc.Publish(n.o.Subject+".up", []byte(n.o.Name+" "+n.instance+" "+strconv.FormatUint(n.beats, 10)+" "+n.o.Addr))
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
	if len(f) > 3 {
		addr = string(f[3])
	}
	if name == n.o.Name {
		if instance != n.instance && !bye {
			n.o.Logger.Error("boshnats: another process has the name of this node: its clients will be told that their sessions are gone", "node", name)
		}
		return
	}
	n.mu.Lock()
	p := n.peers[name]
	if bye {
		n.mu.Unlock()
		if p != nil && p.instance == instance {
			n.gone(p, "it has left")
		}
		return
	}
	var lost, gone []*call
	var before *peer
	known := p != nil && !p.dead && p.instance == instance
	switch {
	case p == nil || p.instance != instance:
		if before = p; p != nil { // another process has taken its place
			gone = n.take(func(c *call) bool { return c.to == name })
			lost = n.leaveWay(name)
		}
		p = &peer{name: name, instance: instance}
		n.peers[name] = p
	case beats != p.beats+1:
		lost = n.take(func(c *call) bool { return c.to == name && c.via == "" || c.via == name })
	}
	now := time.Now()
	p.heard, p.beat, p.beats, p.addr = now, now, beats, addr
	p.dead, p.absent, p.via = false, false, ""
	replaced := n.replacedBy(p)
	n.mu.Unlock()
	n.tell(before, gone)
	answerAll(lost, errLost)
	if replaced != nil {
		n.gone(replaced, "another process has its address")
	}
	if !known {
		n.o.Logger.Info("boshnats: a node is there", "node", name)
		n.beat() // so that it hears of us at once
	}
}

// replacedBy returns the older node at the address of p, if any. The caller holds
// the lock.
func (n *Node) replacedBy(p *peer) *peer {
	if p.addr == "" {
		return nil
	}
	for _, q := range n.peers {
		if q != p && !q.dead && q.addr == p.addr && q.beat.Before(p.beat.Add(-2*n.o.Heartbeat)) {
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
		sum := 0
		for _, s := range n.subs {
			d, _ := s.Dropped()
			sum += d
		}
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
	var strange []uint64
	for id, since := range n.strangers {
		c := n.waiting[id]
		if c == nil || n.peers[c.to] != nil {
			delete(n.strangers, id)
		} else if now.Sub(since) > n.o.Patience {
			strange = append(strange, id)
		}
	}
	for reply, p := range n.partial {
		if now.Sub(p.at) > 10*n.o.Patience {
			n.parts -= len(p.b)
			delete(n.partial, reply)
		}
	}
	n.mu.Unlock()
	for _, id := range strange {
		n.fail(id, bosh.ErrNoNode)
	}
	for _, p := range late {
		n.seek(p)
	}
}
