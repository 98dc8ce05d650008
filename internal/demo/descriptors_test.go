package demo_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/gobosh/bosh/internal/demo"
)

type failing struct{ err error }

func (f failing) Accept() (net.Conn, error) { return nil, f.err }
func (failing) Close() error                { return nil }
func (failing) Addr() net.Addr              { return &net.TCPAddr{Port: 5280} }

// That no descriptors are left is said, and not each time.
func TestWatchDescriptors(t *testing.T) {
	for err, want := range map[error]int{
		&net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}: 1,
		&net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.ENFILE)}: 1,
		fmt.Errorf("lookup a.example: dial udp: too many open files"):                  1,
		net.ErrClosed:          0,
		errors.New("anything"): 0,
	} {
		var log bytes.Buffer
		ln := demo.WatchDescriptors(failing{err}, slog.New(slog.NewTextHandler(&log, nil)))
		for range 5 {
			_, got := ln.Accept()
			assert.Equal(t, err, got)
		}
		assert.Equal(t, want, strings.Count(log.String(), "level=ERROR"), log.String())
		if want > 0 {
			assert.Contains(t, log.String(), "ulimit -n")
		}
	}
}

func TestLogSessions(t *testing.T) {
	n, limit, ok := demo.Sessions(3)
	if !ok {
		t.Skip("there is no limit")
	}
	assert.InDelta(t, (limit-64)/3, n, 1)
	for most, want := range map[int64]string{0: "level=INFO", int64(n): "level=INFO", int64(n) + 1: "level=WARN"} {
		var log bytes.Buffer
		demo.LogSessions(slog.New(slog.NewTextHandler(&log, nil)), 3, most)
		assert.Contains(t, log.String(), want)
		assert.Contains(t, log.String(), fmt.Sprintf("sessions=%d descriptors=%d", n, limit))
	}
}

func TestSayRoom(t *testing.T) {
	if _, _, ok := demo.Sessions(2); !ok {
		t.Skip("there is no limit")
	}
	var said strings.Builder
	demo.SayRoom(&said, "chat")
	assert.Regexp(t, `^chat: \d+ file descriptors are enough for \d+ sessions\n$`, said.String())
}
