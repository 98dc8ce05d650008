package boshnats

import (
	"bytes"
	"strconv"
	"time"

	"github.com/gobosh/bosh"
	"github.com/nats-io/nats.go"
)

// A heartbeat is the node's name, its instance, and how many it has sent: a gap tells
// that messages have been lost.

// beat sends a heartbeat.
func (n *Node) beat() {
	n.beating.Lock()
	defer n.beating.Unlock()
	n.beats++
	n.nc.Publish(n.o.Subject+".up", []byte(n.o.Name+" "+n.instance+" "+strconv.FormatUint(n.beats, 10)))
}

// heard gets the heartbeats of all nodes.
func (n *Node) heard(m *nats.Msg) {
	f := bytes.Fields(m.Data)
	if len(f) != 3 || bosh.CheckNode(string(f[0])) != nil {
		return
	}
	name, instance, bye := string(f[0]), string(f[1]), string(f[2]) == "bye"
	beats, err := strconv.ParseUint(string(f[2]), 10, 64)
	if err != nil && !bye {
		return
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
	known := p != nil && !p.dead && p.instance == instance
	switch {
	case p == nil || p.instance != instance:
		if p != nil { // another process has taken its place
			gone = n.take(func(c *call) bool { return c.to == name })
		}
		p = &peer{name: name, instance: instance}
		n.peers[name] = p
	case beats != p.beats+1:
		lost = n.take(func(c *call) bool { return c.to == name })
	}
	p.heard, p.beats, p.dead = time.Now(), beats, false
	n.mu.Unlock()
	n.tell(gone)
	for _, c := range lost {
		c.answer(nil, errLost)
	}
	if !known {
		n.o.Logger.Info("boshnats: a node is there", "node", name)
		n.beat() // so that it hears of us at once
	}
}

// forget is after how long nothing is known any more of a node that is gone.
const forget = time.Hour

// run sends heartbeats, and looks after those of others.
func (n *Node) run(lost chan nats.Status) {
	tick := time.NewTicker(n.o.Heartbeat)
	defer tick.Stop()
	var dropped int
	for {
		select {
		case <-n.quit:
			return
		case <-lost:
			n.lose()
			continue
		case <-tick.C:
		}
		// What NATS has dropped because we were too slow, somebody waits for.
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
		n.look()
	}
}

// lose has all requests fail whose answers may have been lost.
func (n *Node) lose() {
	n.mu.Lock()
	lost := n.take(func(c *call) bool { return !c.probe })
	n.mu.Unlock()
	for _, c := range lost {
		c.answer(nil, errLost)
	}
}

// look asks after nodes that have not been heard.
func (n *Node) look() {
	now := time.Now()
	var silent, late []*peer
	n.mu.Lock()
	for name, p := range n.peers {
		switch age := now.Sub(p.heard); {
		case p.dead && age > forget:
			delete(n.peers, name)
		case p.dead:
		case age > n.o.Patience:
			silent = append(silent, p)
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
	for _, p := range silent {
		n.gone(p, "it is silent")
	}
	for _, p := range late {
		id := n.ids.Add(1)
		n.mu.Lock()
		n.waiting[id] = &call{to: p.name, probe: true, answer: func([]byte, error) {}}
		n.mu.Unlock()
		if n.nc.PublishRequest(n.subject(p.name), n.reply+strconv.FormatUint(id, 36), []byte{ping}) != nil {
			n.fail(id, errLost)
		}
	}
}
