package boshnats

import (
	"bytes"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gobosh/bosh"
)

// An unheard node is either gone or behind a broken route. Nodes that still hear it
// can tell, and pass its messages on.

// An account is a node's word on another one.
type account struct {
	by       string // who says it
	instance string // or "-" if it does not live, as far as that one knows
	beats    uint64
	age      time.Duration // of its last heartbeat
	addr     string
}

// asked answers a question after a node: with its last heartbeat here.
func (n *Node) asked(name, reply string) {
	if !strings.HasPrefix(reply, n.o.Subject+".reply.") || strings.HasPrefix(reply, n.reply) || name == n.o.Name {
		return
	}
	text := n.o.Name + " - 0 0"
	n.mu.Lock()
	if p := n.peers[name]; p != nil && !p.dead && p.beats > 0 {
		text = n.o.Name + " " + p.instance + " " + strconv.FormatUint(p.beats, 10) + " " + strconv.FormatInt(time.Since(p.beat).Milliseconds(), 10) + " " + p.addr
	}
	n.mu.Unlock()
	n.nc.Publish(reply, append([]byte{word}, text...))
}

func readAccount(b []byte) (a account, ok bool) {
	f := bytes.Fields(b)
	if len(f) < 4 || bosh.CheckNode(string(f[0])) != nil {
		return a, false
	}
	a.by, a.instance = string(f[0]), string(f[1])
	beats, err := strconv.ParseUint(string(f[2]), 10, 64)
	age, aerr := strconv.ParseInt(string(f[3]), 10, 32)
	a.beats, a.age = beats, time.Duration(age)*time.Millisecond
	if len(f) > 4 {
		a.addr = string(f[4])
	}
	return a, err == nil && aerr == nil
}

// ask asks all others about a node, and the node itself, whose instance it returns. It
// waits for the answers of all that are heard, but not for long. With whole set they all
// have answered, and nothing was lost meanwhile. With sure set no other node is out of
// reach, either, and NATS knows nobody of the name.
func (n *Node) ask(name string) (all []account, instance string, whole, sure bool) {
	before := n.nc.Stats().Reconnects
	id, probe := n.ids.Add(1), n.ids.Add(1)
	answers, answered := make(chan []byte, 1024), make(chan string, 1)
	n.mu.Lock()
	expected, others := 0, 0
	for _, q := range n.peers {
		if !q.dead && q.name != name && q.of == "" {
			if others++; time.Since(q.beat) < 2*n.o.Heartbeat {
				expected++
			}
		}
	}
	n.gather[id] = answers
	n.waiting[probe] = &call{to: name, probe: true, answer: func(b []byte, _ error) { answered <- string(b) }}
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		delete(n.gather, id)
		delete(n.waiting, probe)
		n.mu.Unlock()
	}()
	if n.nc.PublishRequest(n.o.Subject+".up", n.replyTo(id), []byte(name)) != nil ||
		n.nc.PublishRequest(n.subject(name), n.replyTo(probe), []byte{ping}) != nil {
		return nil, "", false, false
	}
	late := time.NewTimer(n.o.Heartbeat / 2)
	defer late.Stop()
	asked, waits := true, true
	for waits && (asked || len(all) < expected) {
		select {
		case b := <-answers:
			if a, ok := readAccount(b); ok {
				all = append(all, a)
			}
		case instance = <-answered:
			asked = false
		case <-late.C:
			waits = false
		case <-n.quit:
			return nil, "", false, false
		}
	}
	whole = len(all) >= expected && n.nc.IsConnected() && n.nc.Stats().Reconnects == before
	return all, instance, whole, whole && len(all) >= others && !asked && instance == ""
}

// start runs f, unless the node leaves. It is called with the lock.
func (n *Node) start(f func()) bool {
	if !n.leaving {
		n.running.Go(f)
	}
	return !n.leaving
}

// seek finds out whether an unheard node lives, until it is heard again or gone.
func (n *Node) seek(p *peer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !p.sought && !p.dead && n.peers[p.name] == p {
		p.sought = n.start(func() {
			for again := true; again; {
				again = n.find(p)
				select {
				case <-n.quit:
					again = false
				case <-time.After(n.o.Heartbeat / 3):
				}
			}
			n.mu.Lock()
			p.sought = false
			n.mu.Unlock()
		})
	}
}

// find asks others, and believes the ones that have heard more. It reports whether the
// state of the node is still unknown.
func (n *Node) find(p *peer) bool {
	all, _, _, _ := n.ask(p.name)
	n.mu.Lock()
	lost, turned := n.learn(p, all)
	now := time.Now()
	silent, absent, addr := now.Sub(p.heard), p.absent, p.addr
	over := p.dead || n.peers[p.name] != p || n.leaving ||
		p.via == "" && !absent && now.Sub(p.heard) < 2*n.o.Heartbeat
	n.mu.Unlock()
	if turned != "" {
		n.o.Logger.Warn("boshnats: a route between NATS servers is broken: another node passes requests on", "node", p.name, "by", turned)
	}
	answerAll(lost, errLost)
	switch {
	case over:
		return false
	case !n.nc.IsConnected():
	case silent > n.o.Patience:
		n.gone(p, "it is silent", addr != "" && refused(addr))
	case absent && silent > 2*n.o.Heartbeat && addr == "":
		n.gone(p, "NATS has nobody of its name", false)
	case absent && silent > 2*n.o.Heartbeat && refused(addr):
		n.gone(p, "NATS has nobody of its name", true)
	}
	return true
}

// learn takes in the accounts of a node. It returns the calls with possibly lost
// answers, and the new way to the node. The caller holds the lock.
func (n *Node) learn(p *peer, all []account) (lost []*call, turned string) {
	by, most := "", max(p.beats, p.told)
	for _, a := range all {
		if a.instance == p.instance && a.beats > most && (by == "" || a.by == p.via) {
			by = a.by
			p.told = max(p.told, a.beats)
		}
	}
	// A heartbeat of the same age as the latest here has come to both.
	if by == "" || p.dead || p.beats >= p.told || !p.absent && time.Since(p.beat) < 2*n.o.Heartbeat {
		return nil, ""
	}
	p.heard = time.Now()
	if p.via == by {
		return nil, ""
	}
	was := p.via
	p.via = by
	return n.take(func(c *call) bool { return c.to == p.name && c.via == was && !c.probe }), by
}

// refused reports whether nobody listens at an address, beyond doubt.
func refused(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, 300*time.Millisecond)
	if err == nil {
		c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// A stranger is a node that was never heard.
type stranger struct {
	since time.Time
	calls []uint64 // that wait to know about it
}

// maxUnknown is how many nodes others are asked after at a time.
const maxUnknown = 256

// inquire has others asked about a node never heard, for a call, which waits. It reports
// whether that can be: clients may name any node, and in any number. The caller holds the
// lock.
func (n *Node) inquire(id uint64, name string) bool {
	s := n.unknown[name]
	if s == nil {
		if len(n.unknown) >= maxUnknown {
			return false
		}
		s = &stranger{since: time.Now()}
		n.unknown[name], n.queue = s, append(n.queue, name)
	}
	s.calls = append(s.calls, id)
	if !n.inquiring {
		n.inquiring = n.start(n.inquireAll)
	}
	return n.inquiring
}

// inquireAll asks about one node after the other, not too often, until all are known.
func (n *Node) inquireAll() {
	for {
		n.mu.Lock()
		if len(n.queue) == 0 || n.leaving {
			n.inquiring = false
			n.mu.Unlock()
			return
		}
		name := n.queue[0]
		n.queue = n.queue[1:]
		s := n.unknown[name]
		n.mu.Unlock()
		err := n.meet(name, s.since)
		n.mu.Lock()
		s.calls = slices.DeleteFunc(s.calls, func(id uint64) bool { return n.waiting[id] == nil })
		var known []*call
		if err == nil && len(s.calls) > 0 {
			n.queue = append(n.queue, name)
		} else {
			delete(n.unknown, name)
			for _, id := range s.calls {
				if c := n.waiting[id]; c != nil { // it may be there twice
					known = append(known, c)
					delete(n.waiting, id)
				}
			}
		}
		n.mu.Unlock()
		answerAll(known, err)
		select {
		case <-n.quit:
		case <-time.After(n.o.Heartbeat / 3):
		}
	}
}

// meet asks about a node that others have been asked after since then. It returns what to
// tell the calls to it: errAbsent if it is there; ErrNoNode if it is not, as far as anybody
// within reach has known for Patience, or for sure; errLost if it cannot be known; nil if it
// may be known soon.
func (n *Node) meet(name string, since time.Time) error {
	all, instance, whole, sure := n.ask(name)
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.peers[name]
	if p == nil && instance != "" { // of which no heartbeat has come so far
		p = &peer{name: name, instance: instance, heard: time.Now()}
	}
	for _, a := range all {
		if p == nil && a.instance != "-" && a.age < 2*n.o.Heartbeat {
			p = &peer{name: name, instance: a.instance, addr: a.addr, heard: time.Now(), told: a.beats, via: a.by, absent: true}
		}
	}
	late := time.Since(since) > n.o.Patience
	switch {
	case p != nil:
		n.peers[name] = p
		return errAbsent
	case (sure || late && whole) && (len(all) > 0 || time.Since(n.joined) > n.o.Patience):
		return bosh.ErrNoNode
	case late:
		return errLost
	}
	return nil
}
