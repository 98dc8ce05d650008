package logs

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Notices tell an operator about sessions, and about trouble around the Handler. Logger
// is set before all else. Notices may be used by several goroutines at once.
type Notices struct {
	*slog.Logger

	hurried, alone, policed sync.Once
	cutoffs                 Cutoffs
	large, crowded          Limiter
	limits                  [3]Limiter
}

// Hurried logs once that the time limit of requests is shorter than their wait.
func (n *Notices) Hurried(limit, wait time.Duration) {
	n.hurried.Do(func() {
		n.Warn("bosh: something in front of the Handler gives requests a time limit that is shorter than their wait;"+
			" they are answered a little before it is over, so clients ask more often: raise the limit, or lower Options.Wait",
			"limit", limit.Round(time.Millisecond), "wait", wait)
	})
}

// Policed logs once that Direct has no effect behind a handler with headers for CORS.
func (n *Notices) Policed() {
	n.policed.Do(func() {
		n.Warn("bosh: a handler in front sets headers for CORS, so Direct takes no connection over from it")
	})
}

// Unaccepted is the text for streams without anybody to take them.
const Unaccepted = "nobody takes the streams: set Options.Serve, or call Accept of Handler.Listener"

// Alone logs once that a session has ended before anybody took a stream.
func (n *Notices) Alone(session string) {
	n.alone.Do(func() { n.Warn("bosh: "+Unaccepted, "session", session) })
}

// Body logs a request that is refused for its body: it is too large, or there is no
// memory for it. The client itself is told only of a bad request, or of a policy.
func (n *Notices) Body(now time.Duration, large bool, maxBody, maxMemory int64, remote func() string) {
	if !large {
		if more, ok := n.crowded.Take(now); ok {
			n.Warn("bosh: no memory is left for a request, so its client is told policy-violation, which ends its session:"+
				" raise Options.MaxMemory, if the machine has more", "max-memory", maxMemory, "remote", remote(), "unlogged", more)
		}
		return
	}
	if more, ok := n.large.Take(now); ok {
		n.Info("bosh: a request is too large, so its client is told bad-request, which ends its session:"+
			" raise Options.MaxBody, and above it the limit of what is in front", "max-body", maxBody, "remote", remote(), "unlogged", more)
	}
}

// CutOff takes note of a request of a session given up at some age. If it becomes a
// habit, CutOff logs it: the client sees only failing requests.
func (n *Notices) CutOff(serial int64, session string, age, now, wait time.Duration) {
	if age < wait && n.cutoffs.GivenUp(serial, age, now) {
		n.Warn("bosh: requests are given up before their wait is over, always at the same age:"+
			" a proxy or a load balancer in front has a shorter time-out; raise it above wait, or lower Options.Wait below it", "session", session, "after", age.Round(10*time.Millisecond), "wait", wait)
	}
}

// A Cause says why a session was refused.
type Cause uint8

const (
	ByClient   Cause = iota // no news
	Trouble                 // the application's: a warning
	BySessions              // a limit that an operator should know of, but not by a line for each client
	ByAddress               // another one
	ByMemory                // a third
)

// Refused logs the refusal of a session. remote and origin are for the log.
func (n *Notices) Refused(now time.Duration, c Cause, condition string, remote, origin func() string, why error) {
	level, more := slog.LevelDebug, int64(0)
	switch c {
	case Trouble:
		level = slog.LevelWarn
	case BySessions, ByAddress, ByMemory:
		var ok bool
		if more, ok = n.limits[c-BySessions].Take(now); ok {
			level = slog.LevelInfo
		}
	}
	ctx := context.Background()
	if !n.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("condition", condition), slog.String("remote", remote()),
		slog.String("origin", Text(origin())), slog.Any("cause", Error(why)),
	}
	if more > 0 {
		attrs = append(attrs, slog.Int64("unlogged", more))
	}
	n.LogAttrs(ctx, level, "bosh: session refused", attrs...)
}

// Stream says something of a further stream of a session.
func (n *Notices) Stream(level slog.Level, message, session, condition, remote string, why error) {
	n.LogAttrs(context.Background(), level, message, slog.String("session", session), slog.String("condition", condition),
		slog.String("remote", Text(remote)), slog.Any("cause", Error(why)))
}

// Begins logs the beginning of a session.
func (n *Notices) Begins(session func() string, remote func() string) {
	if n.Enabled(context.Background(), slog.LevelDebug) {
		n.Debug("bosh: session begins", "session", session(), "remote", Text(remote()))
	}
}
