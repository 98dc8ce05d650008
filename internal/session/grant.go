package session

import (
	"errors"
	"fmt"
	"mime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gobosh/bosh/internal/wire"
)

// MaxRid is the largest request id: the largest exact integer of a double. XEP-0124,
// section 14.1.
const MaxRid = 1<<53 - 1

// MaxSeconds is the largest time of the schema, in seconds.
const MaxSeconds = 1<<16 - 1

// Terms are the server's offer. Times of 0 mean none.
type Terms struct {
	Wait, Inactivity, Pause time.Duration

	// Polling is for all sessions. If it is 0, polling sessions have the usual one all the
	// same; if it is negative, they have none either.
	Polling time.Duration

	Hold    int
	Acks    bool
	Streams bool // more than one
	Content []string
}

// A Grant is the result of a session's creation.
type Grant struct {
	Wait       time.Duration
	Inactivity time.Duration // 0: no limit
	Polling    time.Duration // 0: no limit
	Pause      time.Duration // 0: no pausing
	Hold       int
	Requests   int
	Ver        string
	Legacy     bool   // the client sent no version
	Acks       bool   // the server acknowledges
	Streams    bool   // there may be several streams
	Content    string // the Content-Type of every answer
}

// A GrantCache shares one Grant among sessions with the same terms. The zero value is ready
// for use, by several goroutines at once.
type GrantCache struct{ last atomic.Pointer[Grant] }

// Share returns g, or its like from the last call. Nobody may change it.
func (c *GrantCache) Share(g Grant) *Grant {
	if last := c.last.Load(); last != nil && *last == g {
		return last
	}
	shared := g
	c.last.Store(&shared)
	return &shared
}

// The client's wishes by default.
const (
	usualWait = 60 * time.Second
	usualHold = 1
)

const usualPolling = 5 * time.Second

// Settle settles the terms of a creation request. Its result is good for the answer also
// after an error, bad-request.
func (t *Terms) Settle(req *wire.Request) (g Grant, err error) {
	g = Grant{Content: wire.TextXML, Legacy: req.Ver == nil, Acks: t.Acks, Streams: t.Streams, Pause: t.Pause}
	if c := strings.Trim(string(req.Content), " "); ContentType(c, t.Content) {
		g.Content = c // or else the usual one: there are clients that ask for what is no media type
	}
	if !req.Rid.OK || req.Rid.N < 1 || req.Rid.N > MaxRid {
		return g, errors.New("no acceptable rid")
	}
	if req.Wait.Set && !req.Wait.OK || req.Hold.Set && !req.Hold.OK {
		return g, errors.New("wait or hold is no number")
	}
	g.Ver = Version(string(req.Ver))
	g.Wait, g.Hold = min(t.Wait, usualWait), min(t.Hold, usualHold)
	if req.Wait.Set {
		g.Wait = min(t.Wait, time.Duration(min(req.Wait.N, MaxSeconds))*time.Second)
	}
	if req.Hold.Set {
		g.Hold = int(min(int64(t.Hold), req.Hold.N))
	}
	g.Requests = g.Hold + 1
	g.Inactivity, g.Polling = t.Inactivity, max(t.Polling, 0)
	if g.Polls() {
		if t.Polling == 0 {
			g.Polling = usualPolling
		}
		if t.Inactivity > 0 {
			g.Inactivity = min(2*t.Inactivity+g.Polling, MaxSeconds*time.Second)
		}
	}
	return g, nil
}

// Polls reports whether requests are never kept waiting. XEP-0124, section 12.
func (g *Grant) Polls() bool { return g.Wait == 0 || g.Hold == 0 }

// Patience is how long a request is held: a little less than the granted wait, since some
// clients give up at just that time.
func (g *Grant) Patience() time.Duration { return g.Wait - min(g.Wait/20, time.Second) }

// Attributes returns the numbers of the creation response. A limit without enforcement is
// left out: a client may take polling='0' for the period of a timer.
func (g *Grant) Attributes() *wire.Granted {
	a := &wire.Granted{
		Ver: g.Ver, Accept: "gzip,deflate",
		Wait: int64(g.Wait / time.Second), Hold: int64(g.Hold), Requests: int64(g.Requests),
		Polling: -1, Inactivity: -1, MaxPause: -1,
	}
	if g.Polling > 0 {
		a.Polling = int64(g.Polling / time.Second)
	}
	if g.Inactivity > 0 {
		a.Inactivity = int64(g.Inactivity / time.Second)
	}
	if g.Pause > 0 {
		a.MaxPause = int64(g.Pause / time.Second)
	}
	return a
}

// Pauses returns the granted pause of a request, or 0. A request for the end gets none.
// XEP-0124, section 10.
func (g *Grant) Pauses(req *wire.Request) time.Duration {
	if !req.Pause.OK || Terminates(req) {
		return 0
	}
	return min(time.Duration(min(req.Pause.N, MaxSeconds))*time.Second, g.Pause)
}

// Terminates reports whether a request ends the session or a stream. One client
// says terminal.
func Terminates(req *wire.Request) bool {
	return string(req.Type) == "terminate" || string(req.Type) == "terminal"
}

// Opens reports whether a request opens a further stream. XEP-0124, section
// 16.3.
func (g *Grant) Opens(req *wire.Request) bool {
	return g.Streams && len(req.Payloads) == 0 && len(req.To) > 0 &&
		req.Restart == nil && !Terminates(req) && g.Pauses(req) == 0
}

// Extra reports whether a request may go one beyond the window. XEP-0124,
// section 11.
func (g *Grant) Extra(req *wire.Request) bool { return Terminates(req) || g.Pauses(req) > 0 }

// maxContent is the longest media type in use, in bytes: every answer has it.
const maxContent = 128

// ContentType returns whether the client's media type is among the allowed ones, in UTF-8,
// and fit for a header.
func ContentType(content string, allowed []string) bool {
	if len(content) > maxContent || strings.ContainsFunc(content, unfit) {
		return false
	}
	mt, params, err := mime.ParseMediaType(content)
	if err != nil {
		return false
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return false
	}
	return slices.ContainsFunc(allowed, func(a string) bool { return strings.EqualFold(a, mt) })
}

// unfit reports whether r may not be in a header.
func unfit(r rune) bool { return r < ' ' || r > '~' }

// The version of XEP-0124 spoken here, and the one for an unreadable version.
const (
	major, minor = 1, 11
	ours         = "1.11"
	odd          = "1.6"
)

// Version returns the lower of our version and the client's; the latter is empty if the
// client did not tell. XEP-0124, section 7.2.
func Version(client string) string {
	if client == "" {
		return ours
	}
	before, after, ok := strings.Cut(client, ".")
	ma, err1 := strconv.ParseUint(before, 10, 16)
	mi, err2 := strconv.ParseUint(after, 10, 16)
	switch {
	case !ok || err1 != nil || err2 != nil:
		return odd
	case ma < major || ma == major && mi < minor:
		return fmt.Sprintf("%d.%d", ma, mi)
	}
	return ours
}
