package main

import (
	"context"
	"flag"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/internal/logs"
)

// A shape is how fast clients may be: bytes and stanzas a second, of a session and of all
// sessions of an address. 0 is no limit. A faster client is slowed: its stream is not
// read, and the library has it wait for its answers.
type shape struct{ bytes, stanzas, addrBytes, addrStanzas int }

func (s *shape) flags(fs *flag.FlagSet) {
	numberVar(fs, &s.bytes, "rate", 0, "how many `bytes` of stanzas a second a session may send before it is slowed; 0 for no limit")
	numberVar(fs, &s.stanzas, "stanza-rate", 0, "how many `stanzas` a second it may send; 0 for no limit")
	numberVar(fs, &s.addrBytes, "rate-per-client", 0, "how many `bytes` a second all sessions of one address may send; 0 for no limit")
	numberVar(fs, &s.addrStanzas, "stanza-rate-per-client", 0, "how many `stanzas` a second they may send; 0 for no limit")
}

// on reports whether there is any limit.
func (s shape) on() bool { return s != shape{} }

// burst is for how many seconds a client may be silent, and make up for it.
const burst = 5

// A bucket is the amount a client may still send. At most it holds the amount of burst
// seconds; it is negative if the client has sent more.
type bucket struct {
	rate  int // a second; 0 for no limit
	debt  float64
	since time.Time // when debt was right
}

// take takes n out of the bucket, and returns how long it takes until nothing is missing.
func (b *bucket) take(n int, now time.Time) time.Duration {
	if b.rate == 0 {
		return 0
	}
	if !b.since.IsZero() {
		b.debt -= now.Sub(b.since).Seconds() * float64(b.rate)
	} else {
		b.debt = -burst * float64(b.rate)
	}
	b.debt = max(b.debt, -burst*float64(b.rate)) + float64(n)
	b.since = now
	return time.Duration(max(b.debt, 0) / float64(b.rate) * float64(time.Second))
}

// A shaper is the buckets of all clients. The zero value has no limit.
type shaper struct {
	shape
	count *metrics
	log   *slog.Logger
	said  logs.Limiter
	began time.Time

	mu    sync.Mutex // Protects following.
	addrs map[netip.Prefix]*addrBuckets
}

// addrBuckets are those of an address, as long as there are sessions of it.
type addrBuckets struct {
	sessions       int
	bytes, stanzas bucket
}

// A meter measures one session.
type meter struct {
	shaper         *shaper
	session        *bosh.Session
	addr           netip.Prefix
	bytes, stanzas bucket
	counted        int64 // stanzas
}

// meter returns the meter of a session, or nil if there is no limit. It is to be closed.
func (s *shaper) meter(session *bosh.Session) *meter {
	if !s.on() {
		return nil
	}
	m := &meter{shaper: s, session: session, bytes: bucket{rate: s.bytes}, stanzas: bucket{rate: s.stanzas}}
	if s.addrBytes > 0 || s.addrStanzas > 0 {
		if m.addr = ownerOf(session); m.addr.IsValid() {
			s.mu.Lock()
			defer s.mu.Unlock()
			a := s.addrs[m.addr]
			if a == nil {
				if s.addrs == nil {
					s.addrs = make(map[netip.Prefix]*addrBuckets)
				}
				a = &addrBuckets{bytes: bucket{rate: s.addrBytes}, stanzas: bucket{rate: s.addrStanzas}}
				s.addrs[m.addr] = a
			}
			a.sessions++
		}
	}
	return m
}

// ownerOf returns the owner of a session: an address of IPv4, or a network of IPv6.
func ownerOf(s *bosh.Session) netip.Prefix {
	a, err := netip.ParseAddrPort(s.RemoteAddr().String())
	if err != nil {
		return netip.Prefix{}
	}
	addr, bits := a.Addr().Unmap().WithZone(""), 64
	if addr.Is4() {
		bits = 32
	}
	p, _ := addr.Prefix(bits)
	return p
}

// close forgets the session. An address is forgotten with its last one.
func (m *meter) close() {
	if m == nil || !m.addr.IsValid() {
		return
	}
	s := m.shaper
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.addrs[m.addr]; a != nil {
		if a.sessions--; a.sessions == 0 {
			delete(s.addrs, m.addr)
		}
	}
}

// passed counts n bytes from the client, and waits as long as the client is too fast, but
// not beyond the end of ctx.
func (m *meter) passed(ctx context.Context, n int) {
	if m == nil {
		return
	}
	now, total := time.Now(), m.session.Stats().PayloadsIn
	stanzas := int(total - m.counted)
	m.counted = total
	own := max(m.bytes.take(n, now), m.stanzas.take(stanzas, now))
	shared := m.shaper.share(m.addr, n, stanzas, now)
	d := max(own, shared)
	if d <= 0 {
		return
	}
	scope := "session"
	if shared > own {
		scope = "address"
	}
	m.shaper.count.slowed.add(scope)
	m.shaper.count.slowedFor.Add(int64(d))
	if more, ok := m.shaper.said.Take(now.Sub(m.shaper.began)); ok {
		m.shaper.log.Info("a client is too fast and is slowed, by the limits of -rate and the like: raise them if that is too slow",
			"session", m.session.ID(), "client", m.session.RemoteAddr(), "limit of", scope, "for", d.Round(time.Millisecond), "unlogged", more)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// share takes n bytes and some stanzas out of an address's buckets.
func (s *shaper) share(addr netip.Prefix, n, stanzas int, now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.addrs[addr]
	if a == nil {
		return 0
	}
	return max(a.bytes.take(n, now), a.stanzas.take(stanzas, now))
}
