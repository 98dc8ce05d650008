package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// A gate is a writer that takes only what it is told to.
type gate struct {
	writes chan string // what is being written
	take   chan int    // how much of it is taken; less than all is an error
}

func newGate() *gate { return &gate{writes: make(chan string), take: make(chan int)} }

func (g *gate) Write(p []byte) (int, error) {
	g.writes <- string(p)
	if n := <-g.take; n < len(p) {
		return n, io.ErrClosedPipe
	}
	return len(p), nil
}

func numbered(i int) item { return item{p: &packet{name: "message", id: fmt.Sprint(i)}} }

func text(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "<message id='%d'/>", i)
	}
	return b.String()
}

func TestOutboxCoalesces(t *testing.T) {
	g := newGate()
	o := newOutbox(g, "localhost")
	o.start()
	for i := range 50 {
		if err := o.put(numbered(i)); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if got := <-g.writes; got != text(0, 1) {
				t.Errorf("got %q", got)
			}
		}
	}
	g.take <- 1000
	if got := <-g.writes; got != text(1, 50) { // all that came meanwhile
		t.Errorf("got %q", got)
	}
	o.put(numbered(50))
	o.finish([]byte("end"))
	if err := o.put(numbered(51)); err != errOutboxClosed {
		t.Errorf("put after the end: %v", err)
	}
	for _, want := range []string{text(50, 51), "end"} {
		g.take <- 10000
		if got := <-g.writes; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	g.take <- 1000
	if rest := o.rest(); len(rest) != 0 {
		t.Errorf("%d items are left", len(rest))
	}
}

func TestOutboxFailure(t *testing.T) {
	g := newGate()
	o := newOutbox(g, "localhost")
	for i := range 10 {
		o.put(numbered(i))
	}
	o.start()
	<-g.writes
	o.put(numbered(10))
	g.take <- len(text(0, 4)) + 1 // and a piece of number 4
	rest := o.rest()
	if len(rest) != 7 {
		t.Fatalf("%d items are left, want 7", len(rest))
	}
	for i, it := range rest {
		if it.p.id != fmt.Sprint(i+4) {
			t.Errorf("item %d is %s", i, it.p.id)
		}
	}
	if err := o.put(numbered(11)); err != errOutboxClosed {
		t.Errorf("put after the failure: %v", err)
	}
}

func TestOutboxFull(t *testing.T) {
	g := newGate()
	o := newOutbox(g, "localhost")
	big := item{p: &packet{name: "message", inner: make([]byte, 64<<10)}}
	n := 0
	var err error
	for ; err == nil; n++ {
		err = o.put(big)
	}
	if !errors.Is(err, errOutboxFull) || n < 50 || n > 70 {
		t.Fatalf("after %d: %v", n, err)
	}
	if err := o.put(numbered(0)); err != errOutboxClosed {
		t.Errorf("put after it was full: %v", err)
	}
	if rest := o.drop([]byte("end")); len(rest) != n-1 {
		t.Errorf("%d items taken back, want %d", len(rest), n-1)
	}
	o.start()
	if got := <-g.writes; got != "end" {
		t.Errorf("got %q", got)
	}
	g.take <- 3
	o.rest()
}
