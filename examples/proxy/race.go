package main

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// How long one attempt is waited for before the next one begins as well: to
// another address of a server, and to another server. RFC 8305, section 8, has
// a quarter of a second, and up to two. It takes more for another server, since
// the order of servers is their operator's wish.
const (
	addressDelay  = 250 * time.Millisecond
	endpointDelay = 500 * time.Millisecond
)

// A racer is the outcome of an attempt.
type racer struct {
	i    int
	conn net.Conn
	err  error
}

// race tries to connect in n ways, in turn, until one succeeds. The next attempt
// begins when one has failed, or when the last has taken as long as delay. When
// one has won the others are cancelled and waited for. The errors are those of
// the failed attempts before it.
func race(ctx context.Context, n int, delay time.Duration, try func(context.Context, int) (net.Conn, error)) (won racer, errs []error) {
	ctx, cancel := context.WithCancel(ctx)
	if deadline, ok := ctx.Deadline(); ok {
		delay = min(delay, time.Until(deadline)/time.Duration(n+1)) // so that all get their turn
	}
	outcomes := make(chan racer)
	started, running := 0, 0
	start := func() {
		i := started
		started++
		running++
		go func() {
			conn, err := try(ctx, i)
			outcomes <- racer{i, conn, err}
		}()
	}
	defer func() {
		cancel()
		for range running {
			if r := <-outcomes; r.conn != nil {
				r.conn.Close()
			}
		}
	}()
	next := time.NewTimer(0)
	defer next.Stop()
	for started < n || running > 0 {
		select {
		case <-next.C:
		case r := <-outcomes:
			running--
			if r.err == nil {
				return r, errs
			}
			errs = append(errs, r.err)
		}
		if started < n && ctx.Err() == nil {
			start()
			next.Reset(max(delay, time.Millisecond))
		} else if running == 0 {
			break
		}
	}
	return racer{err: context.Cause(ctx)}, errs
}

// interleave sorts addresses: the two families take turns, and the first one
// stays the first. RFC 8305, section 4.
func interleave(addrs []netip.Addr) (sorted []netip.Addr) {
	var first, second []netip.Addr
	for _, a := range addrs {
		if a.Is4() == addrs[0].Is4() {
			first = append(first, a)
		} else {
			second = append(second, a)
		}
	}
	for len(first) > 0 || len(second) > 0 {
		if len(first) > 0 {
			sorted, first = append(sorted, first[0]), first[1:]
		}
		if len(second) > 0 {
			sorted, second = append(sorted, second[0]), second[1:]
		}
	}
	return sorted
}
