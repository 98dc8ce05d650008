// Package httpio is where a BOSH endpoint meets HTTP. It reads the bodies of requests,
// compressed or not, within limits of size, memory and time. It writes answers with the
// headers common to all of them. It knows of no sessions.
package httpio

import (
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gobosh/bosh/internal/logs"
	"github.com/gobosh/bosh/internal/wire"
)

// Options say how an Endpoint reads and writes.
type Options struct {
	Headers

	MaxBody          int64  // the largest body of a request
	Reading, Writing *Limit // of a body

	// Compress is the size from which answers are compressed, for clients that accept it.
	// If it is not positive, none are.
	Compress int

	Logger *slog.Logger
}

// An Endpoint reads requests and writes answers. Make it by NewEndpoint. It may be used by
// several goroutines at once.
type Endpoint struct {
	o             Options
	before, after string // what all answers have in their heads, if static is set
	static        bool
	noDeadlines   sync.Once // for the warning that they cannot be set
	others        sync.Once // for the one that somebody else sees to CORS
	began         time.Time
	preflights    logs.Preflights
	foreign       logs.Limiter // of preflights that are refused
}

// NewEndpoint returns an Endpoint.
func NewEndpoint(o Options) *Endpoint {
	e := &Endpoint{o: o, began: time.Now()}
	e.o.AllowHeaders = slices.DeleteFunc(slices.Clone(o.AllowHeaders), e.unfit)
	if o.Credentials && o.AllowOrigin == nil {
		o.Logger.Warn("bosh: AllowCredentials has no effect without AllowOrigin, which must say whose pages may send them")
	}
	e.before, e.after, e.static = e.o.Static()
	return e
}

// unfit reports whether name cannot be the name of a header. It logs such a name.
func (e *Endpoint) unfit(name string) bool {
	bad := name == "" || strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune("\"(),/:;<=>?@[\\]{}", r)
	})
	if bad {
		e.o.Logger.Warn("bosh: AllowHeaders: not the name of a header", "name", name)
	}
	return bad
}

// Foreign reports whether r comes from a page without permission.
func (e *Endpoint) Foreign(r *http.Request) bool { return e.o.Foreign(r) }

// Read appends the body of r to b. Its memory goes on share, and the caller gives it back.
// Before it waits for more of a body, it calls flowing with the bytes so far, as they
// came. It may be nil. Its errors are those of [httpio.ReadBody].
func (e *Endpoint) Read(w http.ResponseWriter, r *http.Request, b []byte, share *Share, flowing func([]byte)) (_ []byte, err error) {
	if e.o.Writing.On() && hurried(r) {
		// The Server's limit may be shorter than the wait. Ours begins when
		// there is an answer.
		e.limited(http.NewResponseController(w).SetWriteDeadline(time.Time{}))
	}
	on, rc := e.o.Reading.On(), http.NewResponseController(w)
	var p Pace
	if on {
		p = e.o.Reading.Begin()
		e.limited(rc.SetReadDeadline(e.o.Reading.Deadline(&p)))
		defer func() {
			if err == nil { // or else the Server waits for what is still to come
				rc.SetReadDeadline(time.Time{})
			}
		}()
	}
	had := 0
	b, whole, err := ReadBody(b, r, e.o.MaxBody, share, func(b []byte) {
		if on && e.o.Reading.Flowed(&p, len(b)-had) {
			rc.SetReadDeadline(e.o.Reading.Deadline(&p))
		}
		had = len(b)
		if flowing != nil {
			flowing(b)
		}
	})
	if (err == ErrTooLarge || err == ErrNoRoom) && !whole && r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close") // rather than read the rest
	}
	return b, err
}

// hurried reports whether the [http.Server] limits the time for an answer.
func hurried(r *http.Request) bool {
	srv, ok := r.Context().Value(http.ServerContextKey).(*http.Server)
	return ok && srv.WriteTimeout > 0
}

// limited takes the result of setting a deadline.
func (e *Endpoint) limited(err error) {
	if errors.Is(err, http.ErrNotSupported) {
		e.noDeadlines.Do(func() {
			e.o.Logger.Warn("bosh: the ResponseWriter has no deadlines; slow clients are not bounded by ReadTimeout and WriteTimeout")
		})
	}
}

// Silence makes sure that w sends nothing more, not even net/http's own answer for a
// handler that has written nothing. The connection is closed, or the stream of HTTP/2
// reset. It reports whether that is certain.
func Silence(w http.ResponseWriter) bool {
	return http.NewResponseController(w).SetWriteDeadline(longAgo) == nil
}

var longAgo = time.Unix(1, 0)

// An Answer is the answer to a BOSH request.
type Answer struct {
	Status  int // if not 0, an HTTP error, which has no body
	Body    []byte
	Content string // the Content-Type
}

// Reply writes the answer to r.
func (e *Endpoint) Reply(w http.ResponseWriter, r *http.Request, a Answer) {
	e.asked(r.Header["Origin"])
	e.set(w.Header(), r.Method, r.Header["Origin"]) // not before: they take room, and requests are held for long
	if a.Status != 0 {
		w.WriteHeader(a.Status)
		return
	}
	encoded := len(w.Header()["Content-Encoding"]) > 0
	if e.o.Compress > 0 {
		a.Body = e.compress(w.Header(), r.Header["Accept-Encoding"], a.Body)
	}
	e.send(w, a.Body, contentType(a.Content), encoded)
}

// set sets the headers of an answer.
func (e *Endpoint) set(hd http.Header, method string, origin []string) {
	if e.o.Set(hd, method, origin) {
		e.others.Do(func() {
			e.o.Logger.Warn("bosh: a handler in front sets headers for CORS, which are left as they are; set NoCORS if it sees to all of that, or let AllowOrigin do so")
		})
	}
}

// asked takes note of a request after the preflight of its page.
func (e *Endpoint) asked(origin []string) {
	if len(origin) > 0 {
		e.preflights.Request(logs.Text(origin[0]))
	}
}

// preflight logs the reason why a page may not send requests: only its browser would know
// otherwise.
func (e *Endpoint) preflight(r *http.Request) {
	origin := r.Header["Origin"]
	if len(origin) == 0 || len(r.Header["Access-Control-Request-Method"]) == 0 {
		return
	}
	now := time.Since(e.began)
	if e.Foreign(r) {
		if _, ok := e.foreign.Take(now); ok {
			e.o.Logger.Info("bosh: preflight refused: AllowOrigin does not let this page in", "origin", logs.Text(origin[0]))
		}
	} else if e.preflights.Preflight(logs.Text(origin[0]), now) {
		e.o.Logger.Warn("bosh: preflights of a page are answered, and no request follows: its browser does not accept the headers for CORS;"+
			" a proxy in front may set them too, and must not", "origin", logs.Text(origin[0]))
	}
}

// compress returns an answer in the best content coding for it. The uncompressed answer is
// stored for repeats. If middleware has set a coding it will compress the answer itself,
// and twice would be once too often.
func (e *Endpoint) compress(hd http.Header, accepted []string, body []byte) []byte {
	hd["Vary"] = append(slices.Clip(hd["Vary"]), "Accept-Encoding")
	if len(body) < e.o.Compress || len(hd["Content-Encoding"]) > 0 {
		return body
	}
	coding := Accepted(accepted)
	if short := Encode(body, coding); short != nil {
		hd["Content-Encoding"] = []string{coding}
		return short
	}
	return body
}

// send writes an answer. encoded says whether middleware encodes it, and so changes its
// length.
func (e *Endpoint) send(w http.ResponseWriter, body []byte, contentType []string, encoded bool) {
	hd := w.Header()
	hd["Content-Type"] = contentType
	if len(body) > buffered && !encoded {
		hd["Content-Length"] = []string{strconv.Itoa(len(body))}
	} else {
		delete(hd, "Content-Length") // somebody else's, of something else
	}
	e.write(w, body)
}

// write writes the body of an answer, as long as it is taken. An error means as little as
// success: the client repeats a request without an answer.
func (e *Endpoint) write(w http.ResponseWriter, body []byte) {
	l := e.o.Writing
	if !l.On() {
		w.Write(body)
		return
	}
	p, rc, chunk := l.Begin(), http.NewResponseController(w), l.Chunk()
	e.limited(rc.SetWriteDeadline(l.Deadline(&p)))
	for len(body)/2 > chunk { // so much is taken within the time-out
		if _, err := w.Write(body[:chunk]); err != nil {
			return
		}
		if body = body[chunk:]; l.Flowed(&p, chunk) {
			rc.SetWriteDeadline(l.Deadline(&p))
		}
	}
	w.Write(body)
}

// buffered is the longest body whose length net/http finds out by itself. That is cheaper
// for it than a given length.
const buffered = 2 << 10

var (
	notice = []byte("This is a BOSH endpoint (XEP-0124). Point a BOSH client at it.\n")

	allow     = []string{"POST, OPTIONS, GET, HEAD"}
	plainText = []string{"text/plain; charset=utf-8"}
)

// Other answers requests that are not BOSH, since their method is not POST: OPTIONS is for
// CORS, and GET gets a notice for the curious.
func (e *Endpoint) Other(w http.ResponseWriter, r *http.Request) {
	e.set(w.Header(), r.Method, r.Header["Origin"])
	switch r.Method {
	case http.MethodOptions:
		e.preflight(r)
		w.Header()["Allow"] = allow
		w.WriteHeader(http.StatusNoContent)
	case http.MethodGet, http.MethodHead:
		e.send(w, notice, plainText, len(w.Header()["Content-Encoding"]) > 0)
	default:
		w.Header()["Allow"] = allow
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}

var textXML = []string{wire.TextXML}

// contentType returns a Content-Type as a header has it. It may not be changed.
func contentType(content string) []string {
	if content == wire.TextXML {
		return textXML
	}
	return []string{content}
}
