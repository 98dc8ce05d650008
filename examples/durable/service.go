package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"regexp"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshclient/web"
)

//go:embed web
var pages embed.FS

// A service pushes the events of users to their clients.
type service struct {
	bosh  *bosh.Handler
	queue *queue
	log   *slog.Logger
}

func newService(q *queue, log *slog.Logger) *service {
	s := &service{queue: q, log: log}
	s.bosh = bosh.New(bosh.Options{
		Framing: bosh.Elements, Serve: s.serve, Admit: admit, Logger: log, Direct: true,
		AllowOrigin: func(string) bool { return false }, // no page but ours, which needs no permission
	})
	return s
}

// username is the form of users' names: a token of a subject of NATS, and no more.
var username = regexp.MustCompile(`^[a-z0-9_-]{1,64}$`)

// admit lets everybody in with a name in `to`. A real service asks for a token:
// see the examples of package bosh.
func admit(ctx context.Context, _ *http.Request, o *bosh.Opening) (context.Context, error) {
	if !username.MatchString(o.To) {
		return nil, &bosh.Error{Condition: bosh.HostUnknown}
	}
	return ctx, nil
}

// handler returns the handler of all paths.
func (s *service) handler() http.Handler {
	root, err := fs.Sub(pages, "web")
	if err != nil {
		panic(err) // the name is good
	}
	mux := http.NewServeMux()
	mux.Handle("/http-bind", s.bosh)
	mux.HandleFunc("POST /publish/{user}", s.publish)
	mux.Handle("/bosh/", http.StripPrefix("/bosh", web.Handler()))
	mux.Handle("/", http.FileServerFS(root))
	return mux
}

// serve serves a client.
func (s *service) serve(st *bosh.Stream) {
	go io.Copy(io.Discard, st) // it says nothing that matters
	err := s.queue.push(st.Context(), st.Opening().To, st)
	switch {
	case st.Context().Err() != nil: // the client has gone
	case errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, jetstream.ErrConsumerNotFound):
		st.CloseWithError(&bosh.Error{Condition: bosh.PolicyViolation, Err: errReplaced})
	default:
		s.log.Warn("no events can be had", "error", err)
		st.CloseWithError(&bosh.Error{Condition: bosh.InternalServerError, Err: err})
	}
}

var errReplaced = errors.New("another client of the same user has come")

// maxEvent is the largest event, in bytes.
const maxEvent = 64 << 10

// publish takes an event for a user: any JSON. The answer 204 means it is stored.
// After anything else, or no answer, it may be sent again: with the same Event-Id it
// is stored once.
func (s *service) publish(w http.ResponseWriter, r *http.Request) {
	user := r.PathValue("user")
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxEvent))
	if err != nil || !username.MatchString(user) || !json.Valid(data) {
		http.Error(w, "say a user of a-z, 0-9, _ and -, and up to 64 KiB of JSON", http.StatusBadRequest)
		return
	}
	if err := s.queue.publish(r.Context(), user, r.Header.Get("Event-Id"), data); err != nil {
		s.log.Warn("an event could not be stored", "error", err)
		http.Error(w, "not stored, try again", http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
