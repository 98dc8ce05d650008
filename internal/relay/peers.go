package relay

import (
	"sync"
	"sync/atomic"
)

// Peers are the other nodes as far as they are known. The zero value is ready for use.
type Peers struct {
	mu sync.RWMutex // guards the map
	m  map[string]*peer
}

// A peer is a node that has answered, or has sent something. Clients may name nodes
// that have never existed.
type peer struct {
	name            string
	sent, got, lost atomic.Int64
}

// maxPeers is how many there may be. All others count as one without a name.
const maxPeers = 1000

// Counts are those of one peer. The fields are those of the root package's RelayStats, so
// that one converts to the other.
type Counts struct {
	Out    int64 `json:"out"`    // requests of its sessions that it was sent, and has answered
	In     int64 `json:"in"`     // requests that it has sent
	Failed int64 `json:"failed"` // requests that it was sent, and has not answered
}

func (p *Peers) find(name []byte) *peer {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.m[string(name)]
}

// nameOf returns name as a string.
func (p *Peers) nameOf(name []byte) string {
	if q := p.find(name); q != nil {
		return q.name
	}
	return string(name)
}

// make returns the peer of that name.
func (p *Peers) make(name string) *peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.m[name]
	if q == nil && len(p.m) >= maxPeers {
		name = ""
		q = p.m[name]
	}
	if q == nil {
		if p.m == nil {
			p.m = make(map[string]*peer)
		}
		q = &peer{name: name}
		p.m[name] = q
	}
	return q
}

// out counts a request sent to a node.
func (p *Peers) out(name string, err error) {
	p.mu.RLock()
	q := p.m[name]
	p.mu.RUnlock()
	switch {
	case err == nil && q == nil:
		q = p.make(name)
		fallthrough
	case err == nil:
		q.sent.Add(1)
	case q == nil:
		p.make("").lost.Add(1)
	default:
		q.lost.Add(1)
	}
}

// in counts a request received from a node.
func (p *Peers) in(name []byte) {
	q := p.find(name)
	if q == nil {
		q = p.make(string(name))
	}
	q.got.Add(1)
}

// Counts returns the counts of all peers by their names. Nodes without any answer are
// counted under the empty name. It is nil if there are none.
func (p *Peers) Counts() map[string]Counts {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if len(p.m) == 0 {
		return nil
	}
	all := make(map[string]Counts, len(p.m))
	for name, q := range p.m {
		all[name] = Counts{Out: q.sent.Load(), In: q.got.Load(), Failed: q.lost.Load()}
	}
	return all
}
