package boshtest

import (
	"cmp"
	"context"
	"maps"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// ProxyFaults are the faults of a [Proxy] in its exchanges.
type ProxyFaults struct {
	// Seed makes another run of the same rates.
	Seed uint64

	// Rates is the probability of each fault. A Proxy knows CutBefore,
	// CutAfter, CutMiddle, CutHeld and Delay.
	Rates map[Fault]float64

	// Spare is how many exchanges pass before the faults begin, for the
	// creation of a session. The protocol cannot repeat it.
	Spare int

	// Latency is the longest time of CutHeld and Delay. The default is 20 ms.
	Latency time.Duration
}

// dialTimeout is how long a [Proxy] waits for its target.
const dialTimeout = 10 * time.Second

// A Proxy forwards TCP connections and breaks some of them. It knows nothing of
// HTTP: an exchange is the client's bytes until the server speaks, and the
// server's bytes until the client speaks again. With HTTP/2 a cut hits all
// requests of the connection.
type Proxy struct {
	target string
	faults ProxyFaults
	l      net.Listener
	serves sync.WaitGroup
	ctx    context.Context // ends by stop
	stop   context.CancelFunc

	mu sync.Mutex
	// Protects following.
	stats  FaultStats
	links  map[*link]bool
	closed bool
}

// NewProxy listens on a port of 127.0.0.1 and forwards to a host and port. The
// caller calls Close.
func NewProxy(target string, faults ProxyFaults) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	faults.Latency = cmp.Or(faults.Latency, 20*time.Millisecond)
	faults.Rates = maps.Clone(faults.Rates)
	p := &Proxy{
		target: target,
		faults: faults,
		l:      l,
		stats:  FaultStats{Hits: make(map[Fault]int)},
		links:  make(map[*link]bool),
	}
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.serves.Go(p.serve)
	return p, nil
}

// Addr returns the proxy's own host and port.
func (p *Proxy) Addr() string { return p.l.Addr().String() }

// Stats returns the counts so far. Requests are exchanges.
func (p *Proxy) Stats() FaultStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Hits = maps.Clone(s.Hits)
	return s
}

// CutAll breaks all open connections.
func (p *Proxy) CutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k := range p.links {
		k.close()
	}
}

// Close stops listening, breaks all connections and waits for their end.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.stop() // of what is being dialled
	err := p.l.Close()
	p.CutAll()
	p.serves.Wait()
	return err
}

func (p *Proxy) serve() {
	for {
		client, err := p.l.Accept()
		if err != nil {
			return
		}
		p.serves.Go(func() { p.forward(client) })
	}
}

// forward serves one connection.
func (p *Proxy) forward(client net.Conn) {
	d := net.Dialer{Timeout: dialTimeout}
	server, err := d.DialContext(p.ctx, "tcp", p.target)
	if err != nil {
		client.Close()
		return
	}
	k := &link{p: p, client: client, server: server, done: make(chan struct{})}
	p.mu.Lock()
	if p.closed {
		k.close()
	}
	p.links[k] = true
	p.mu.Unlock()
	var up sync.WaitGroup
	up.Go(k.up)
	k.down()
	up.Wait()
	p.mu.Lock()
	delete(p.links, k)
	p.mu.Unlock()
}

// choose returns the fault of the next exchange, and its time.
func (p *Proxy) choose() (Fault, time.Duration) {
	p.mu.Lock()
	n := p.stats.Requests
	p.stats.Requests++
	p.mu.Unlock()
	rng := rand.New(rand.NewPCG(p.faults.Seed, uint64(n)))
	dice, d := rng.Float64(), 1+time.Duration(rng.Int64N(int64(p.faults.Latency)))
	if n < p.faults.Spare {
		return Pass, 0
	}
	for _, f := range []Fault{CutBefore, CutAfter, CutMiddle, CutHeld, Delay} {
		if dice -= p.faults.Rates[f]; dice < 0 {
			return f, d
		}
	}
	return Pass, 0
}

// A link is a connection through a proxy.
type link struct {
	p              *Proxy
	client, server net.Conn
	done           chan struct{}
	once           sync.Once

	mu sync.Mutex
	// Protects following.
	asking bool // the client has spoken, the server has not yet
	fault  Fault
	timer  *time.Timer // of CutHeld
}

func (k *link) close() {
	k.once.Do(func() {
		close(k.done)
		k.client.Close()
		k.server.Close()
	})
}

// cut breaks the connection for the sake of a fault.
func (k *link) cut(f Fault) {
	k.p.mu.Lock()
	k.p.stats.Hits[f]++
	k.p.mu.Unlock()
	k.close()
}

// up forwards the client's bytes.
func (k *link) up() {
	defer k.close()
	buf := make([]byte, 32<<10)
	for {
		n, err := k.client.Read(buf)
		if n > 0 && !k.ask(buf[:n]) || err != nil {
			return
		}
	}
}

// ask forwards a part of a request, and reports whether to go on.
func (k *link) ask(part []byte) bool {
	k.mu.Lock()
	first := !k.asking
	var d time.Duration
	if first {
		k.asking = true
		k.fault, d = k.p.choose()
	}
	fault := k.fault
	k.mu.Unlock()
	switch {
	case fault == CutBefore:
		k.cut(fault)
		return false
	case fault == Delay && first:
		k.p.mu.Lock()
		k.p.stats.Hits[fault]++
		k.p.mu.Unlock()
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-k.done:
			return false
		}
	}
	if _, err := k.server.Write(part); err != nil {
		return false
	}
	if fault == CutHeld && first {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.asking {
			k.timer = time.AfterFunc(d, func() { k.cut(fault) })
		}
	}
	return true
}

// down forwards the server's bytes.
func (k *link) down() {
	defer k.close()
	buf := make([]byte, 32<<10)
	for {
		n, err := k.server.Read(buf)
		if n > 0 && !k.answer(buf[:n]) || err != nil {
			return
		}
	}
}

// answer forwards a part of an answer, and reports whether to go on.
func (k *link) answer(part []byte) bool {
	k.mu.Lock()
	fault := Pass
	if k.asking {
		fault = k.fault
	}
	k.asking = false
	if k.timer != nil {
		k.timer.Stop()
		k.timer = nil
	}
	k.mu.Unlock()
	switch fault {
	case CutAfter:
		k.drain()
		k.cut(fault)
		return false
	case CutMiddle:
		k.client.Write(part[:len(part)/2])
		k.cut(fault)
		return false
	}
	_, err := k.client.Write(part)
	return err == nil
}

// drain lets the server finish its answer: it ends when the server is silent.
func (k *link) drain() {
	buf := make([]byte, 32<<10)
	for {
		k.server.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
		if _, err := k.server.Read(buf); err != nil {
			return
		}
	}
}
