package main

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gobosh/bosh/boshclient/web"
	"github.com/gobosh/bosh/internal/demo"
)

//go:embed page.html
var page []byte

// A balancer sends each request to the next node, and restarts dead nodes.
type balancer struct {
	args   func(i int) []string // of the node at place i
	path   func(i int) string   // of its program; nil if it is this one
	quit   chan struct{}
	places sync.WaitGroup

	restarting sync.Mutex // held by restart

	mu    sync.Mutex // guards the following
	nodes []*process
	next  int
}

// A process is a running node.
type process struct {
	place      int
	name, addr string
	cmd        *exec.Cmd
	stdin      io.Closer
	planned    atomic.Bool     // it is being restarted
	ended      chan struct{}   // closed when it is over
	alive      context.Context // ends when nothing is to be sent to it any more
	out        context.CancelFunc
}

// newBalancer starts n nodes, and waits until they are there.
func newBalancer(n int, direct bool) (*balancer, error) {
	b := prepare(n, direct)
	return b, b.start(n)
}

// prepare returns a balancer that is still to be started.
func prepare(n int, direct bool) *balancer {
	var listen []string
	for range n {
		listen = append(listen, demo.FreeAddr())
	}
	return &balancer{quit: make(chan struct{}), args: func(i int) []string {
		others := slices.Delete(slices.Clone(listen), i, i+1)
		return []string{"-listen", listen[i], "-routes", strings.Join(others, ","), "-direct=" + strconv.FormatBool(direct)}
	}}
}

// start starts n nodes.
func (b *balancer) start(n int) error {
	first := make(chan error, n)
	for i := range n {
		b.places.Go(func() { b.keep(i, first) })
	}
	var err error
	for range n {
		err = errors.Join(err, <-first)
	}
	if err != nil {
		b.close()
	}
	return err
}

// again is how long after its death a node is started anew.
const again = 2 * time.Second

// keep has a node run at a place until the balancer is closed.
func (b *balancer) keep(i int, first chan<- error) {
	for {
		p, err := b.launch(i)
		if first != nil {
			first <- err
			first = nil
		}
		if err == nil {
			b.mu.Lock()
			b.nodes = append(b.nodes, p)
			b.mu.Unlock()
			ended := p.ended
			go func() {
				p.cmd.Wait()
				close(ended)
			}()
			select {
			case <-ended:
			case <-b.quit:
				p.stdin.Close() // it sees its clients off
				select {
				case <-ended:
				case <-time.After(5 * time.Second):
					p.cmd.Process.Kill()
					<-ended
				}
			}
			b.takeOut(p)
		}
		pause := again
		if p != nil && p.planned.Load() {
			pause = 0
		}
		select {
		case <-b.quit:
			return
		case <-time.After(pause):
		}
	}
}

// launch starts a node, and waits until it says where it is.
func (b *balancer) launch(place int) (*process, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if b.path != nil {
		path = b.path(place)
	}
	p := &process{place: place, cmd: exec.Command(path, b.args(place)...), ended: make(chan struct{})}
	p.alive, p.out = context.WithCancel(context.Background())
	p.cmd.Stderr = os.Stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if _, err2 := fmt.Sscan(line, &p.name, &p.addr); err != nil || err2 != nil {
		p.cmd.Process.Kill()
		p.cmd.Wait()
		return nil, fmt.Errorf("a node did not start: %q", line)
	}
	return p, nil
}

func (b *balancer) close() {
	close(b.quit)
	b.places.Wait()
}

// pick returns the next node.
func (b *balancer) pick() *process {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.nodes) == 0 {
		return nil
	}
	b.next++
	return b.nodes[b.next%len(b.nodes)]
}

var transport = &http.Transport{MaxIdleConnsPerHost: 100}

// maxRepeated is the largest body that is kept for another node, in bytes.
const maxRepeated = 64 << 10

// RoundTrip sends a request to the next node. If that one does not answer another one gets it:
// a BOSH request may come twice. Clients would repeat it, too, but some not for seconds.
func (b *balancer) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	var body []byte
	tries := 1
	if r.URL.Path == "/http-bind" && r.ContentLength >= 0 && r.ContentLength <= maxRepeated {
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		tries = 3
	}
	for left := tries; left > 0; left-- {
		if body != nil {
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		began := time.Now()
		if resp, err = b.send(r); err == nil || r.Context().Err() != nil {
			break
		}
		if time.Since(began) > time.Second {
			left = tries // that node was well until its end: a request may be held for several restarts
		}
	}
	return resp, err
}

func (b *balancer) send(r *http.Request) (*http.Response, error) {
	p := b.pick()
	if p == nil {
		return nil, errors.New("no node is running")
	}
	ctx, cancel := context.WithCancel(r.Context()) // which ends when the request is over
	stop := context.AfterFunc(p.alive, cancel)
	context.AfterFunc(ctx, func() { stop() })
	r = r.WithContext(ctx)
	u := *r.URL
	u.Scheme, u.Host = "http", p.addr
	r.URL = &u
	return transport.RoundTrip(r)
}

// takeOut gives a node no more requests, and breaks its present ones.
func (b *balancer) takeOut(p *process) {
	b.mu.Lock()
	b.nodes = slices.DeleteFunc(b.nodes, func(q *process) bool { return q == p })
	b.mu.Unlock()
	p.out()
}

// handler serves the page, and passes all else on.
func (b *balancer) handler() http.Handler {
	proxy := &httputil.ReverseProxy{
		Transport: b,
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetXForwarded() },
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil { // a node has died: the client repeats
				http.Error(w, "bad gateway", http.StatusBadGateway)
			}
		},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		w.Write(page)
	})
	mux.Handle("/bosh/", http.StripPrefix("/bosh", web.Handler()))
	for _, path := range []string{"/http-bind", "/nodes", "POST /say"} {
		mux.Handle(path, proxy)
	}
	mux.HandleFunc("POST /kill", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Cluster") == "" { // which pages of other origins cannot send
			http.Error(w, "forbidden", http.StatusForbidden)
			return
		}
		if !b.kill(r.URL.Query().Get("node")) {
			http.Error(w, "no such node", http.StatusNotFound)
		}
	})
	mux.HandleFunc("POST /restart", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Cluster") == "" {
			http.Error(w, "forbidden", http.StatusForbidden)
			return
		}
		if err := b.restart(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	return mux
}

// restart restarts all nodes, one after the other. It does not begin before an earlier
// call has returned.
func (b *balancer) restart() error {
	b.restarting.Lock()
	defer b.restarting.Unlock()
	b.mu.Lock()
	all := slices.Clone(b.nodes)
	b.mu.Unlock()
	for _, p := range all {
		if err := b.replace(p); err != nil {
			return err
		}
	}
	return nil
}

// replace has a node leave, and waits until another one is in its place.
func (b *balancer) replace(p *process) error {
	b.mu.Lock()
	b.nodes = slices.DeleteFunc(b.nodes, func(q *process) bool { return q == p }) // new requests go elsewhere
	left := len(b.nodes)
	b.mu.Unlock()
	p.planned.Store(true)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	<-p.ended
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		b.mu.Lock()
		n := len(b.nodes)
		b.mu.Unlock()
		if n > left {
			return nil
		}
		select {
		case <-b.quit:
			return errors.New("the balancer is closed")
		default:
		}
		if time.Since(began) > 20*time.Second {
			return errors.New("a node does not start")
		}
	}
}

// kill kills a node, as kill -9 does.
func (b *balancer) kill(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.nodes {
		if p.name == name {
			return p.cmd.Process.Kill() == nil
		}
	}
	return false
}
