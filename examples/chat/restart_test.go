package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
)

// An instance is one of two chat servers behind a proxy.
type instance struct {
	*server
	web    *web
	pipe   *boshtest.PipeServer
	served chan error
}

func newInstance(t *testing.T) *instance {
	in := &instance{server: newTestServer(t), served: make(chan error, 1)}
	in.insecure = true // TLS ends at the proxy
	in.web = &web{bosh: newBOSH(&config{}, in.server)}
	srv := &http.Server{Handler: in.web.handler(in.server)}
	in.pipe = boshtest.Pipe(srv)
	in.web.doors = []door{{server: srv}}
	go func() { in.served <- in.serve(in.web.bosh.Listener()) }()
	return in
}

// stop does what the program does at its end.
func (in *instance) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- in.web.shutdown(ctx) }()
	return errors.Join(in.shutdown(ctx), <-ended, <-in.served)
}

// A front is a reverse proxy in front of instances. New sessions go to the
// current one; those that there are stay where they are.
type front struct {
	mu sync.Mutex
	// Protects following.
	current *instance
	home    map[string]*instance // of sessions, by sid
}

func (f *front) use(in *instance) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.current = in
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	body, err := boshtest.ParseBody(text)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f.mu.Lock()
	to := f.current
	if sid := body.Attr("sid"); sid != "" {
		to = f.home[sid]
	}
	f.mu.Unlock()
	target, err := url.Parse(to.pipe.URL)
	if err != nil {
		panic(err) // it is a good one
	}
	r.Body = io.NopCloser(bytes.NewReader(text))
	proxy := httputil.ReverseProxy{
		Transport: to.pipe,
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorLog:  log.New(io.Discard, "", 0), // an instance that has stopped
		ModifyResponse: func(resp *http.Response) error {
			text, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			resp.Body = io.NopCloser(bytes.NewReader(text))
			if body, e := boshtest.ParseBody(text); e == nil && body.Attr("sid") != "" {
				f.mu.Lock()
				f.home[body.Attr("sid")] = to
				f.mu.Unlock()
			}
			return err
		},
	}
	proxy.ServeHTTP(w, r)
}

// TestRollingRestart replaces a server under its clients, which log in again at
// the new one when the old one tells them to go. Bob says a thing again until
// the server has answered a query behind it; all that it has answered for,
// alice has.
func TestRollingRestart(t *testing.T) {
	for seed := range uint64(6) {
		for _, share := range []float64{0, 0.3} { // of exchanges that something happens to
			t.Run(fmt.Sprint(seed, share), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { restart(t, seed, share) })
			})
		}
	}
}

func restart(t *testing.T, seed uint64, share float64) {
	const total = 60
	before, after := newInstance(t), newInstance(t)
	f := &front{current: before, home: make(map[string]*instance)}
	memory := boshtest.InMemory(f)
	enter := func(user, password, resource string, manual bool, share float64) *client {
		c := dialBOSH(t, boshtest.Config{
			URL: "http://localhost/http-bind", Transport: memory, Manual: manual,
			Fault: &boshtest.Faults{Seed: seed, Latency: 50 * time.Millisecond,
				Rates: boshtest.Evenly(share, boshtest.Delay, boshtest.CutBefore, boshtest.CutAfter, boshtest.CutMiddle)},
		})
		c.login(user, password, resource)
		return c
	}
	// Nothing happens to this one: who does not get the last answer can ask for
	// it again only until the old server has stopped.
	idle := enter("", "", "idle", true, 0)
	in := &inbox{}
	var alice sync.WaitGroup
	present := make(chan bool)
	alice.Go(func() {
		defer close(present)
		for range 2 {
			c := enter("alice", "secret", "a", false, share)
			c.send("<presence/>")
			for {
				el, err := c.read()
				if err != nil {
					break
				}
				if el.XMLName.Local == "presence" && el.attr("from") == c.jid {
					present <- true
				}
				if n, err := strconv.Atoi(el.child("body").Text); err == nil {
					in.mu.Lock()
					in.numbers = append(in.numbers, n)
					in.mu.Unlock()
				}
			}
		}
	})
	<-present

	stopped := make(chan error, 1)
	rolling := false
	bob, logins := enter("bob", "hunter2", "b", false, share), 1
	for i := 0; i < total; {
		if i == total/3 && !rolling {
			rolling = true
			f.use(after)
			go func() {
				time.Sleep(time.Duration(seed) * 3 * time.Millisecond)
				stopped <- before.stop()
			}()
		}
		if !acknowledged(bob, i) {
			bob.Close()
			bob = enter("bob", "hunter2", "b", false, share)
			logins++
			continue
		}
		i++
		time.Sleep(5 * time.Millisecond)
	}
	<-present // alice has come over
	if logins != 2 {
		t.Errorf("bob has logged in %d times, want 2", logins)
	}

	time.Sleep(20 * time.Second)
	select {
	case err := <-stopped:
		t.Fatalf("stopped (%v) before all clients were told", err)
	default:
	}
	idle.send("<presence/>") // which may be answered yet
	_, err := idle.read()
	for err == nil {
		_, err = idle.read()
	}
	var end *boshclient.Error
	if !errors.As(err, &end) || end.Condition != "system-shutdown" {
		t.Errorf("the idle client got %v, want system-shutdown", err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("stop: %v", err)
	}
	// What is stored outlives a process, as a rule.
	old := before.lookup("alice@localhost")
	old.offline.take(func(p *packet) bool { return after.deliver(after.lookup("alice@localhost"), p, false) == nil })

	time.Sleep(time.Minute)
	got := in.get()
	for i := range total {
		if !slices.Contains(got, i) {
			t.Errorf("%d is lost: alice got %v", i, got)
		}
	}
	if twice := len(got) - total; share == 0 && twice > 4 { // what the last two answers carried, and what bob said again
		t.Errorf("%d came twice: alice got %v", twice, got)
	}
	bob.Close()
	idle.Close()
	go func() { stopped <- after.stop() }()
	alice.Wait()
	if err := <-stopped; err != nil {
		t.Errorf("stop: %v", err)
	}
	before.pipe.Close()
	after.pipe.Close()
	memory.Wait()
}

// acknowledged says a thing to alice, and reports whether the server has
// answered a query behind it.
func acknowledged(c *client, n int) bool {
	id := strconv.Itoa(n)
	if c.write("<message to='alice@localhost' type='chat'><body>"+id+"</body></message>"+
		"<iq type='get' id='"+id+"' to='localhost'><ping xmlns='"+nsPing+"'/></iq>") != nil {
		return false
	}
	for {
		el, err := c.read()
		if err != nil || strings.HasPrefix(el.attr("type"), "err") {
			return false
		}
		if el.attr("id") == id {
			return true
		}
	}
}
