package main

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/internal/demo"
)

//go:embed web
var pages embed.FS

// The hosts for a client's `to`: a service of this kind has one handler for all
// its parts.
const (
	hostMonitor = "monitor" // pushes samples, takes commands
	hostEcho    = "echo"    // sends back whatever comes
)

// history is how many elements a new page gets.
const history = 180

// A service serves pages and the load.
type service struct {
	bosh  *bosh.Handler
	meter meter
	feed  *feed
	load  *load
	log   *slog.Logger
}

func newService(log *slog.Logger, direct bool) *service {
	s := &service{feed: newFeed(history), log: log}
	s.bosh = bosh.New(bosh.Options{
		Framing: bosh.Elements,
		Serve:   s.serve,
		Admit:   admit,
		// Both are short, to have something to see. The defaults are better.
		Wait:       20 * time.Second,
		Inactivity: 15 * time.Second,
		// No page but ours, and ours needs no permission.
		AllowOrigin: func(string) bool { return false },
		Direct:      direct,
		Logger:      log,
		Trace:       s.meter.trace(),
	})
	s.load = newLoad(s.bosh, &s.meter.echo, s.report)
	return s
}

func admit(ctx context.Context, _ *http.Request, o *bosh.Opening) (context.Context, error) {
	switch o.To = strings.ToLower(o.To); o.To {
	case hostMonitor, hostEcho:
		return ctx, nil
	case "":
		return nil, &bosh.Error{Condition: bosh.ImproperAddressing}
	}
	return nil, &bosh.Error{Condition: bosh.HostUnknown}
}

// handler returns the handler of all paths.
func (s *service) handler() http.Handler {
	root, err := fs.Sub(pages, "web")
	if err != nil {
		panic(err) // the name is good
	}
	mux := http.NewServeMux()
	mux.Handle("/http-bind", s.bosh)
	mux.Handle("/http-bind/{$}", s.bosh)
	// Here everyone may see it. A real service asks for a password first.
	mux.Handle("/sessions", s.bosh.Monitor())
	mux.Handle("/", demo.ServePage(root))
	return demo.CleanSlashes(demo.CheckPaths(mux, "/http-bind", s.log))
}

func (s *service) close() {
	s.load.close()
	s.bosh.Close()
}

// sample publishes a sample at each interval, until ctx ends.
func (s *service) sample(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		v := s.meter.sample(time.Now(), s.bosh.Stats())
		v.Running = s.load.running()
		s.publish(v)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (s *service) publish(v any) {
	element, err := bosh.EncodeJSON(v)
	if err != nil {
		panic(err) // our own types are fit for JSON
	}
	s.feed.publish(element)
}

// A notice is a sentence for people about a load.
type notice struct {
	Type string `json:"type"` // "notice"
	At   int64  `json:"at"`
	Load string `json:"load"`
	Text string `json:"text"`
}

// report publishes the result of a load.
func (s *service) report(load, text string) {
	s.publish(notice{"notice", time.Now().UnixMilli(), load, text})
}

// serve serves a stream.
func (s *service) serve(st *bosh.Stream) {
	if st.Opening().To == hostEcho {
		echo(st)
		return
	}
	var reader sync.WaitGroup
	reader.Go(func() { s.listen(st) })
	s.push(st)
	st.Close() // ends the reader
	reader.Wait()
}

// echo sends all input back, until the client has gone. The end of the session
// ends a read, and earlier input is read first: no context is needed.
func echo(st *bosh.Stream) {
	ctx := context.Background()
	for {
		element, err := st.ReadElement(ctx)
		if err != nil || st.WriteElement(ctx, element) != nil {
			return
		}
	}
}

// push sends the feed to a page, until it has gone.
func (s *service) push(st *bosh.Stream) {
	for next := 0; ; {
		elements, n, changed := s.feed.since(next)
		if st.WriteElement(st.Context(), bytes.Join(elements, nil)) != nil {
			return
		}
		next = n
		select {
		case <-changed:
		case <-st.Context().Done():
			return
		}
	}
}

// A command is a page's message.
type command struct {
	Do string `json:"do"` // "ping", "push", "stop", or the name of a load
	N  int    `json:"n"`  // of a ping, comes back; of a push, how many
}

// A reply answers a command, on its page alone.
type reply struct {
	Type string `json:"type"` // "pong", "pushed", "refused"
	N    int    `json:"n"`
	Of   int    `json:"of,omitempty"`
	Text string `json:"text,omitempty"`
}

// maxPush is how many payloads a page can have pushed at a time.
const maxPush = 1000

// listen obeys a page, until it has gone.
func (s *service) listen(st *bosh.Stream) {
	for {
		element, err := st.ReadElement(context.Background())
		if err != nil {
			return
		}
		var c command
		if err := bosh.DecodeJSON(element, &c); err != nil {
			s.reply(st, reply{Type: "refused", Text: "this is no command"})
			continue
		}
		switch c.Do {
		case "ping":
			s.reply(st, reply{Type: "pong", N: c.N})
		case "push":
			of := min(c.N, maxPush)
			for i := range of {
				s.reply(st, reply{Type: "pushed", N: i + 1, Of: of})
			}
		case "stop":
			s.load.stop()
		default:
			if err := s.load.start(c.Do); err != nil {
				s.reply(st, reply{Type: "refused", Text: fmt.Sprint(err)})
			}
		}
	}
}

// reply answers a page. On failure the page has gone, and the next read says
// so.
func (s *service) reply(st *bosh.Stream, r reply) {
	if element, err := bosh.EncodeJSON(r); err == nil {
		st.WriteElement(st.Context(), element)
	}
}
