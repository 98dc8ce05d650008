// Package monitor shows the live sessions of a handler over HTTP, as a page and as
// JSON, and ends them. It knows of sessions only through its arguments, so the
// package of the sessions can use it.
package monitor

import (
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gobosh/bosh/internal/registry"
	"github.com/gobosh/bosh/internal/relay"
	"github.com/gobosh/bosh/internal/version"
)

// Totals are counts of all sessions, including ended ones.
type Totals struct {
	registry.Counts
	Sessions int64            `json:"sessions"`
	Created  int64            `json:"created"`
	Ended    map[string]int64 `json:"ended"`
	Refused  map[string]int64 `json:"refused"`

	// Relayed are requests passed on to other nodes, and from them, by their names.
	Relayed map[string]relay.Counts `json:"relayed,omitempty"`

	MaxSessions int64         `json:"maxSessions"` // 0 for no limit
	Memory      int64         `json:"memory"`
	MaxMemory   int64         `json:"maxMemory"` // 0 for no limit
	Uptime      time.Duration `json:"-"`
	Seconds     int64         `json:"uptimeSeconds"`
	Version     string        `json:"version"`
}

// A Session is the shown data of one session.
type Session struct {
	ID      string   `json:"id"`
	Label   string   `json:"label"`
	State   string   `json:"state"`
	Age     int64    `json:"ageSeconds"`
	Last    int64    `json:"lastRequestSeconds"` // since then
	Remote  string   `json:"remote"`
	Secure  bool     `json:"secure"`
	Agent   string   `json:"agent"`
	Streams []string `json:"streams"` // the domain that each was opened for
	registry.Counts
}

// The states of a session.
const (
	Held    = "held"    // a request is open
	Away    = "away"    // none is, between two of them
	Polling = "polling" // none is held
	Paused  = "paused"
	Ending  = "ending" // the client has still to be told
)

// A Look is the changing part of a session.
type Look struct {
	registry.Counts
	Label, State string
	Age, Last    time.Duration // since it began, and since its last request
}

// Names are the texts by which a session is found, besides its address. To is the domain of
// its first stream, and Several says that it has others.
type Names struct {
	Label, To string
	Several   bool
}

// A Live is a session as its owner has it.
type Live interface {
	comparable
	ID() string // its serial number in base 36
	Secure() bool
	Request() *http.Request
}

// A Source is where it all comes from. Every function must be there, and may
// be called from several goroutines.
type Source[S Live] struct {
	Totals   func() Totals
	Sessions iter.Seq[S]
	Serial   func(S) int64  // grows from each session to the next
	Remote   func(S) string // the client's address
	Names    func(S) Names
	Look     func(S) Look
	Streams  func(S) []string
	End      func(S)
}

// A Listing is the content of one answer.
type Listing struct {
	Totals   Totals    `json:"totals"`
	Sessions []Session `json:"sessions"` // those that began earliest first, unless the query says otherwise
	Found    int       `json:"found"`    // how many sessions there are on all pages
	Page     int       `json:"page"`
	Pages    int       `json:"pages"`
	Next     string    `json:"next"` // where the sessions go on that began later, as `after`; empty at the end
}

// pageSize is how many sessions are shown at a time. So the answer for a hundred
// thousand is no longer than the one for a hundred.
const pageSize = 100

// New returns a handler that shows the sessions of a Source.
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

// A query is the query of a request.
type query struct {
	ID    string // the session of this ID
	After string // those that began after the one of this ID
	Q     string // those that have this text
	Sort  string // one of orders
	Page  int    // from 1
}

func parseQuery(v url.Values) query {
	q := query{ID: v.Get("id"), After: v.Get("after"), Q: strings.TrimSpace(v.Get("q")), Sort: v.Get("sort"), Page: 1}
	if !sorted(q.Sort) {
		q.Sort = oldest
	}
	if n, err := strconv.Atoi(v.Get("page")); err == nil && n > 0 {
		q.Page = n
	}
	return q
}

// encode returns the query as part of a URL, without its empty fields and defaults.
func (q query) encode() string {
	v := url.Values{}
	for name, value := range map[string]string{"id": q.ID, "after": q.After, "q": q.Q, "sort": q.Sort, "page": strconv.Itoa(q.Page)} {
		if value != "" && value != oldest && (name != "page" || q.Page > 1) {
			v.Set(name, shorten(value))
		}
	}
	return v.Encode()
}

// show serves the listing for the query.
func show[S Live](w http.ResponseWriter, r *http.Request, src Source[S]) {
	q := parseQuery(r.URL.Query())
	totals := make(chan Totals, 1)
	go func() { totals <- src.Totals() }() // each of both asks all sessions
	found, next := choose(src, &q)
	list := Listing{Totals: <-totals, Found: len(found), Page: q.Page, Pages: pages(len(found)), Next: next}
	list.Totals.Version, list.Totals.Seconds = version.Module(), int64(list.Totals.Uptime/time.Second)
	found = found[min((q.Page-1)*pageSize, len(found)):]
	found = found[:min(pageSize, len(found))]
	list.Sessions = make([]Session, 0, len(found))
	for _, e := range found {
		list.Sessions = append(list.Sessions, describe(src, e.s))
	}
	if wantsJSON(r) {
		writeJSON(w, http.StatusOK, list)
		return
	}
	writePage(w, r.URL.Query(), q, list)
}

func describe[S Live](src Source[S], s S) Session {
	l := src.Look(s)
	d := Session{
		ID: s.ID(), Label: shorten(l.Label), State: l.State, Age: int64(l.Age / time.Second), Last: int64(l.Last / time.Second),
		Remote: shorten(src.Remote(s)), Secure: s.Secure(), Streams: []string{}, Counts: l.Counts,
	}
	if r := s.Request(); r != nil {
		d.Agent = shorten(r.UserAgent())
	}
	for _, to := range src.Streams(s) {
		d.Streams = append(d.Streams, shorten(to))
	}
	return d
}

// shorten bounds a text chosen by the client.
func shorten(s string) string {
	const limit = 120
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}

// end ends the session with the ID in the form.
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
	s, ok := find(src, id)
	if ok {
		src.End(s)
	}
	switch {
	case wantsJSON(r) && ok:
		writeJSON(w, http.StatusOK, map[string]string{"ended": id})
	case wantsJSON(r):
		writeJSON(w, http.StatusNotFound, map[string]string{"error": "no such session"})
	case ok:
		// Relative, since the path before this handler's is unknown.
		back, _ := url.ParseQuery(r.PostForm.Get("back"))
		here := parseQuery(back).encode()
		if here != "" {
			here += "&"
		}
		w.Header().Set("Location", "?"+here+url.Values{"ended": {id}}.Encode())
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
