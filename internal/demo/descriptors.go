package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/gobosh/bosh/internal/logs"
)

// spareDescriptors are a program's descriptors for other things than sessions.
const spareDescriptors = 64

// Sessions returns how many sessions the limit on file descriptors has room for, and the
// limit. Each session takes so many descriptors. If there is no limit, or it is not
// known, ok is false.
func Sessions(each int) (sessions, limit int, ok bool) {
	limit, ok = descriptorLimit()
	return max((limit-spareDescriptors)/each, 0), limit, ok
}

// LogSessions has the log say how many sessions the limit on file descriptors has room for.
// It warns if these are fewer than most; 0 stands for no limit.
func LogSessions(log *slog.Logger, each int, most int64) {
	n, limit, ok := Sessions(each)
	if !ok {
		return
	}
	level, message := slog.LevelInfo, "room for sessions"
	if most > 0 && int64(n) < most {
		level, message = slog.LevelWarn, "the limit on file descriptors is too low for -max-sessions: raise it, by ulimit -n or LimitNOFILE"
	}
	if most == 0 {
		log.Log(context.Background(), level, message, "sessions", n, "descriptors", limit)
		return
	}
	log.Log(context.Background(), level, message, "sessions", n, "descriptors", limit, "max-sessions", most)
}

// NoDescriptors reports whether err is the lack of file descriptors.
func NoDescriptors(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) ||
		err != nil && strings.Contains(err.Error(), "too many open files")
}

// WatchDescriptors returns a listener. If it cannot accept a connection for want of file
// descriptors it logs this, every ten seconds at most.
func WatchDescriptors(ln net.Listener, log *slog.Logger) net.Listener {
	return &watched{Listener: ln, log: log, began: time.Now()}
}

type watched struct {
	net.Listener
	log   *slog.Logger
	began time.Time
	said  logs.Limiter
}

func (w *watched) Accept() (net.Conn, error) {
	c, err := w.Listener.Accept()
	if NoDescriptors(err) {
		if more, ok := w.said.Take(time.Since(w.began)); ok {
			_, limit, _ := Sessions(1)
			w.log.Error("no file descriptors are left, so nobody can connect: raise the limit, by ulimit -n or LimitNOFILE, or lower -max-sessions",
				"descriptors", limit, "address", w.Addr().String(), "cause", err, "unlogged", more)
		}
	}
	return c, err
}

// SayRoom is for a program with a log of warnings alone. It says how many sessions the
// limit on file descriptors has room for, at two connections each.
func SayRoom(w io.Writer, program string) {
	if n, limit, ok := Sessions(2); ok {
		fmt.Fprintf(w, "%s: %d file descriptors are enough for %d sessions\n", program, limit, n)
	}
}
