//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gobosh/bosh"
)

// Kinds of servers.
const (
	kindFloor    = "floor"    // see floor
	kindBare     = "bare"     // see bare
	kindElements = "elements" // the library; the application uses ReadElement and WriteElement
	kindBytes    = "bytes"    // the library; the application uses Read and Write
	kindParked   = "parked"   // the library; the application has no goroutine for a session
)

// Stats are what a server process tells of itself.
type Stats struct {
	CPU        time.Duration
	RSS        int64
	Heap       int64 // in live and dead objects
	Stack      int64
	Goroutines int64
	Mallocs    int64
}

// serve is the server process: it listens, tells its address, and obeys
// commands from standard input, one a line, answering each by a line.
func serve(kind, profiles string) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if profiles != "" {
		if strings.HasPrefix(filepath.Base(profiles), "idle") {
			runtime.MemProfileRate = 512 // what is kept; elsewhere that would cost too much
		}
		runtime.SetMutexProfileFraction(1)
		runtime.SetBlockProfileRate(int(10 * time.Microsecond))
		cpu, err := os.Create(profiles + ".cpu")
		if err != nil {
			return err
		}
		pprof.StartCPUProfile(cpu)
	}
	handler, push := newServer(kind)
	go http.Serve(ln, handler)
	fmt.Println(ln.Addr())
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "push":
			push([]byte(stanza))
			fmt.Println()
		case "collect":
			runtime.GC()
			runtime.GC()
			debug.FreeOSMemory()
			fmt.Println()
		case "stats":
			b, err := json.Marshal(measure())
			if err != nil {
				return err
			}
			fmt.Printf("%s\n", b)
		case "profile":
			pprof.StopCPUProfile()
			for _, name := range []string{"heap", "mutex", "block", "goroutine"} {
				f, err := os.Create(profiles + "." + name)
				if err != nil {
					return err
				}
				pprof.Lookup(name).WriteTo(f, 0)
				f.Close()
			}
			fmt.Println()
		}
	}
	return nil
}

// measure returns the figures of this process.
func measure() (s Stats) {
	var ru syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	s.CPU = time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		pages, _ := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
		s.RSS = pages * int64(os.Getpagesize())
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	s.Heap, s.Stack, s.Mallocs = int64(m.HeapAlloc), int64(m.StackInuse), int64(m.Mallocs)
	s.Goroutines = int64(runtime.NumGoroutine())
	return s
}

// newServer returns a server of a kind, and how to send something to all its
// clients.
func newServer(kind string) (http.Handler, func([]byte)) {
	switch kind {
	case kindFloor:
		f := newFloor()
		return f, f.push
	case kindBare:
		return http.HandlerFunc(bare), nil
	}
	app := echoElements
	switch kind {
	case kindBytes:
		app = echoBytes
	case kindParked:
		app = nil
	}
	h := bosh.New(bosh.Options{Framing: bosh.Elements, Serve: app, MaxSessions: -1})
	if app == nil {
		go park(h.Listener())
	}
	var to []*bosh.Stream
	return h, func(b []byte) {
		if to == nil {
			for s := range h.Sessions() {
				to = append(to, s.Streams()...)
			}
		}
		for _, st := range to {
			st.WriteElement(context.Background(), b)
		}
	}
}

func echoElements(st *bosh.Stream) {
	for ctx := context.Background(); ; {
		el, err := st.ReadElement(ctx)
		if err != nil {
			return
		}
		st.WriteElement(ctx, el)
	}
}

// park accepts streams and leaves them alone.
func park(ln net.Listener) {
	for {
		if _, err := ln.Accept(); err != nil {
			return
		}
	}
}

func echoBytes(st *bosh.Stream) {
	buf := make([]byte, 4<<10)
	for {
		n, err := st.Read(buf)
		if err != nil {
			return
		}
		st.Write(buf[:n])
	}
}

// A server is a server process, seen from outside.
type server struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	addr string
}

// startServer starts a server of a kind in a process of its own.
func startServer(kind, scenario string) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	profiles := ""
	if *profileDir != "" {
		profiles = filepath.Join(*profileDir, scenario+"-"+kind)
	}
	s := &server{cmd: exec.Command(self, "-serve", kind, "-profile", profiles)}
	s.cmd.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(*procs))
	s.cmd.Stderr = os.Stderr
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	s.out = bufio.NewReader(out)
	line, err := s.out.ReadBytes('\n')
	s.addr = string(bytes.TrimSpace(line))
	return s, err
}

// do sends a command and returns its result.
func (s *server) do(command string) ([]byte, error) {
	if _, err := fmt.Fprintln(s.in, command); err != nil {
		return nil, err
	}
	return s.out.ReadBytes('\n')
}

func (s *server) stats() (st Stats, err error) {
	b, err := s.do("stats")
	if err != nil {
		return st, err
	}
	return st, json.Unmarshal(b, &st)
}

// stop ends the process.
func (s *server) stop() {
	s.in.Close()
	s.cmd.Wait()
}
