// Package monitor shows the live sessions of a handler over HTTP, as a page
// and as JSON, and ends them. It knows of sessions only what it is given, so
// that the package that has them can use it.
package monitor

import (
	"encoding/json"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/gobosh/bosh/internal/registry"
)

// Totals are counts of all sessions, those that have ended included.
type Totals struct {
	registry.Counts
	Sessions int64            `json:"sessions"`
	Created  int64            `json:"created"`
	Ended    map[string]int64 `json:"ended"`
}

// A Session is what is shown of one.
type Session struct {
	ID      string   `json:"id"`
	Remote  string   `json:"remote"`
	Secure  bool     `json:"secure"`
	Agent   string   `json:"agent"`
	Streams []string `json:"streams"` // the domain that each was opened for
	registry.Counts
}

// A Live is a session as its owner has it.
type Live interface {
	comparable
	ID() string
	RemoteAddr() net.Addr
	Secure() bool
	Request() *http.Request
}

// A Source is where it all comes from. Every function must be there, and may
// be called from several goroutines.
type Source[S Live] struct {
	Totals   func() Totals
	Sessions iter.Seq[S]
	Counts   func(S) registry.Counts
	Streams  func(S) []string
	End      func(S)
}

// A Listing is what one answer says.
type Listing struct {
	Totals   Totals    `json:"totals"`
	Sessions []Session `json:"sessions"` // those that began earliest first
	Next     string    `json:"next"`     // where the next page goes on, as `after`; empty at the end
}

// pageSize is how many sessions are shown at a time, so that the answer for a
// hundred thousand is no longer than the one for a hundred.
const pageSize = 100

// New returns a handler that shows what a Source has.
func New[S Live](src Source[S]) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hd := w.Header()
		hd.Set("Cache-Control", "no-store")
		hd.Set("X-Content-Type-Options", "nosniff")
		hd.Set("Content-Security-Policy", policy)
		hd.Set("Vary", "Accept")
		// No stricter than this: without any referrer a browser hides the
		// origin of a form as well, and the form would be refused.
		hd.Set("Referrer-Policy", "same-origin")
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			show(w, r, src)
		case http.MethodPost:
			end(w, r, src)
		default:
			hd.Set("Allow", "GET, HEAD, POST")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		}
	})
}

// show serves the listing that the query asks for: the sessions after the one
// with the ID `after`, or the one with the ID `id`.
func show[S Live](w http.ResponseWriter, r *http.Request, src Source[S]) {
	query := r.URL.Query()
	var list Listing
	var found []S
	if id := query.Get("id"); id != "" {
		if s, ok := find(src.Sessions, id); ok {
			found = append(found, s)
		}
	} else {
		var more bool
		if found, more = following(src.Sessions, query.Get("after"), pageSize); more {
			list.Next = found[len(found)-1].ID()
		}
	}
	list.Totals = src.Totals()
	list.Sessions = make([]Session, 0, len(found))
	for _, s := range found {
		list.Sessions = append(list.Sessions, describe(src, s))
	}
	if wantsJSON(r) {
		writeJSON(w, http.StatusOK, list)
		return
	}
	writePage(w, query, list)
}

func describe[S Live](src Source[S], s S) Session {
	d := Session{ID: s.ID(), Secure: s.Secure(), Streams: []string{}, Counts: src.Counts(s)}
	if a := s.RemoteAddr(); a != nil {
		d.Remote = shorten(a.String())
	}
	if r := s.Request(); r != nil {
		d.Agent = shorten(r.UserAgent())
	}
	for _, to := range src.Streams(s) {
		d.Streams = append(d.Streams, shorten(to))
	}
	return d
}

// shorten bounds what the client has chosen.
func shorten(s string) string {
	const limit = 120
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}

// end ends the session that the form names by its ID.
func end[S Live](w http.ResponseWriter, r *http.Request, src Source[S]) {
	if err := sameOrigin(r); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 4096)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "bad form", http.StatusBadRequest)
		return
	}
	id := r.PostForm.Get("id")
	s, ok := find(src.Sessions, id)
	if ok {
		src.End(s)
	}
	switch {
	case wantsJSON(r) && ok:
		writeJSON(w, http.StatusOK, map[string]string{"ended": id})
	case wantsJSON(r):
		writeJSON(w, http.StatusNotFound, map[string]string{"error": "no such session"})
	case ok:
		// Relative, since nobody knows what this handler is mounted behind.
		w.Header().Set("Location", "?"+url.Values{"after": {r.PostForm.Get("after")}, "ended": {id}}.Encode())
		w.WriteHeader(http.StatusSeeOther)
	default:
		http.Error(w, "no such session: it may have ended meanwhile", http.StatusNotFound)
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}
