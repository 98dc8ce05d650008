//go:build linux

package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"

	"github.com/gobosh/bosh"
)

// The things a server does with its sessions. A scenario names its own, and
// runs with the servers of all kinds that do it.
const (
	doesFloor     = "floor"     // see floor
	doesGoroutine = "goroutine" // see floor.goroutines
	doesBare      = "bare"      // see bare
	doesElements  = "elements"  // echo, by AppendElement and WriteElement, in a goroutine for each session
	doesReceive   = "receive"   // echo, by Receive and WriteElement
	doesBytes     = "bytes"     // echo, by io.Copy
	doesPipelined = "pipelined" // echo, to clients that pipeline
	doesRoute     = "route"     // XMPP, with a goroutine for each session: see router
	doesRouting   = "routing"   // see router, behind the floor
	doesHijack    = "hijack"    // see router, behind hijacker
	doesCarry     = "carry"     // see carrying
	doesPost      = "post"      // see discard
)

// A kind is a kind of server.
type kind struct {
	name   string
	does   string
	column string // of the table; kinds that are never in one scenario may share it
	engine engine
	new    func() server
}

// An engine reads and writes the HTTP of a server. Each has targets of its own.
type engine int

const (
	standard engine = iota // net/http
	direct                 // the library itself, on connections that net/http has accepted
	engines                // how many there are
)

var engineNames = [engines]string{"", "direct"}

// A server is the content of a server process.
type server struct {
	http.Handler
	push      func([]byte)                    // sends something to all clients, to one after the other
	broadcast func([]byte)                    // the same as one thing, if there is a way
	wrap      func(net.Listener) net.Listener // nil for none
}

// kinds has the floor first.
var kinds = []kind{
	{"floor", doesFloor, "floor", standard, floorServer(false)},
	{"goroutine", doesGoroutine, "floor, goroutine", standard, floorServer(true)},
	{"bare", doesBare, "", standard, func() server { return server{Handler: http.HandlerFunc(bare)} }},
	{"elements", doesElements, "elements", standard, library(bosh.Options{Serve: echoElements})},
	{"received", doesReceive, "received", standard, library(bosh.Options{Serve: echoReceived})},
	{"bytes", doesBytes, "bytes", standard, library(bosh.Options{Serve: echoBytes})},
	{"pipelined", doesPipelined, "elements", standard, pipelined(library(bosh.Options{Serve: echoElements}))},
	{"direct", doesElements, "direct", direct, library(bosh.Options{Serve: echoElements, Direct: true})},
	{"direct-received", doesReceive, "direct, received", direct, library(bosh.Options{Serve: echoReceived, Direct: true})},
	{"direct-bytes", doesBytes, "direct, bytes", direct, library(bosh.Options{Serve: echoBytes, Direct: true})},
	{"floor-route", doesRouting, "floor", standard, routingFloor},
	{"hijack-route", doesHijack, "", standard, hijackingRouter},
	{"route", doesRoute, "elements", standard, routing(bosh.Options{})},
	{"direct-route", doesRoute, "direct", direct, routing(bosh.Options{Direct: true})},
	{"floor-post", doesPost, "floor", standard, func() server { return server{Handler: http.HandlerFunc(discard)} }},
	{"carry", doesCarry, "elements", standard, carrying(bosh.Options{})},
	{"direct-carry", doesCarry, "direct", direct, carrying(bosh.Options{Direct: true})},
	{"direct-pipelined", doesPipelined, "direct", direct, library(bosh.Options{Serve: echoElements, Direct: true})},
}

// kindNamed returns the kind of a name, or nil.
func kindNamed(name string) *kind {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })
	if i < 0 {
		return nil
	}
	return &kinds[i]
}

func floorServer(goroutines bool) func() server {
	return func() server {
		f := newFloor(goroutines)
		return server{Handler: f, push: f.push, broadcast: f.push}
	}
}

// isFloor reports whether others are compared with k.
func (k *kind) isFloor() bool {
	return k.does == doesFloor || k.does == doesRouting || k.does == doesPost
}

// judged reports whether the targets are for k.
func (k *kind) judged() bool {
	return k.column != "" && !k.isFloor() && k.does != doesGoroutine
}

// library returns a function to make a server with the library.
func library(o bosh.Options) func() server {
	o.Framing, o.MaxSessions = bosh.Elements, -1
	return func() server {
		h := bosh.New(o)
		streams := sync.OnceValue(func() (all []*bosh.Stream) {
			for s := range h.Sessions() {
				all = append(all, s.Streams()...)
			}
			return all
		})
		push := func(b []byte) {
			for _, st := range streams() {
				st.WriteElement(context.Background(), b)
			}
		}
		broadcast := func(b []byte) { h.Broadcast(b, slices.Values(streams())) }
		return server{Handler: h, push: push, broadcast: broadcast}
	}
}

// pipelined has a server notice its clients' requests behind a held one.
func pipelined(make func() server) func() server {
	return func() server {
		s := make()
		s.wrap = bosh.PipelineListener
		return s
	}
}

func echoElements(st *bosh.Stream) {
	var el []byte
	for ctx := context.Background(); ; {
		var err error
		if el, err = st.AppendElement(ctx, el[:0]); err != nil {
			return
		}
		st.WriteElement(ctx, el)
	}
}

func echoReceived(st *bosh.Stream) {
	st.Receive(func(el []byte, err error) {
		if err == nil {
			st.WriteElement(context.Background(), el)
		}
	})
}

func echoBytes(st *bosh.Stream) { io.Copy(st, st) }
