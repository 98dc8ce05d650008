//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
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
)

// Stats are a server process's figures of itself.
type Stats struct {
	CPU        time.Duration
	Call       time.Duration // CPU of what has been asked for by push and broadcast, until it returned
	RSS        int64
	Heap       int64 // in live and dead objects
	Stack      int64
	Goroutines int64
	Mallocs    int64
}

// serve is the server process: it listens, tells its address, and obeys
// commands from standard input, one a line, answering each by a line.
func serve(name, profiles string) error {
	k := kindNamed(name)
	if k == nil {
		return fmt.Errorf("no server of the kind %q", name)
	}
	if profiles != "" {
		if err := startProfiles(profiles); err != nil {
			return err
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := k.new()
	if s.wrap != nil {
		go http.Serve(s.wrap(ln), s)
	} else {
		go http.Serve(ln, s)
	}
	fmt.Println(ln.Addr())
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		answer, err := s.obey(in.Text(), profiles)
		if err != nil {
			return err
		}
		fmt.Printf("%s\n", answer)
	}
	return nil
}

func (s server) obey(command, profiles string) (answer []byte, err error) {
	switch command {
	case "push":
		s.push([]byte(stanza))
	case "loop":
		called(func() { s.push([]byte(event)) })
	case "broadcast":
		called(func() { s.broadcast([]byte(event)) })
	case "cpu":
		return json.Marshal(Stats{CPU: cpu(syscall.RUSAGE_SELF), Call: call})
	case "tls":
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		srv, err := secured(s)
		if err != nil {
			return nil, err
		}
		srv.ErrorLog = log.New(io.Discard, "", 0) // clients leave as they like
		go srv.ServeTLS(ln, "", "")
		return []byte(ln.Addr().String()), nil
	case "compute":
		go func() {
			for n := uint32(1); n != 0; n |= 1 { // for good
			}
		}()
	case "collect":
		runtime.GC()
		runtime.GC()
		debug.FreeOSMemory()
	case "begin":
		if profiles != "" {
			pprof.StopCPUProfile() // what led here is of no interest
			return nil, profileCPU(profiles)
		}
	case "stats":
		return json.Marshal(measure())
	case "profile":
		return nil, writeProfiles(profiles)
	}
	return nil, nil
}

func startProfiles(name string) error {
	if strings.HasPrefix(filepath.Base(name), "idle") {
		runtime.MemProfileRate = 512 // what is kept; elsewhere that would cost too much
	}
	runtime.SetMutexProfileFraction(1)
	runtime.SetBlockProfileRate(int(100 * time.Millisecond)) // to record what blocks has stacks grow
	return profileCPU(name)
}

func profileCPU(name string) error {
	cpu, err := os.Create(name + ".cpu")
	if err != nil {
		return err
	}
	return pprof.StartCPUProfile(cpu)
}

func writeProfiles(name string) error {
	pprof.StopCPUProfile()
	for _, what := range []string{"heap", "mutex", "block", "goroutine"} {
		f, err := os.Create(name + "." + what)
		if err != nil {
			return err
		}
		if err := pprof.Lookup(what).WriteTo(f, 0); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// call is the CPU time of the calls of called. One goroutine uses it.
var call time.Duration

// called calls f, and measures the CPU time of its thread. Work of other threads for f
// does not count.
func called(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const thread = 1 // RUSAGE_THREAD
	before := cpu(thread)
	f()
	call += cpu(thread) - before
}

// cpu returns the CPU time of this process or thread.
func cpu(who int) time.Duration {
	var ru syscall.Rusage
	syscall.Getrusage(who, &ru)
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// measure returns the figures of this process.
func measure() (s Stats) {
	s.CPU = cpu(syscall.RUSAGE_SELF)
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

// A process is a server process, seen from outside.
type process struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	addr string
}

// start starts a server of a kind in a process of its own.
func (k *kind) start(scenario string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	profiles := ""
	if *profileDir != "" {
		profiles = filepath.Join(*profileDir, scenario+"-"+k.name)
	}
	s := &process{cmd: exec.Command(self, "-serve", k.name, "-profile", profiles)}
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
func (s *process) do(command string) ([]byte, error) {
	if _, err := fmt.Fprintln(s.in, command); err != nil {
		return nil, err
	}
	return s.out.ReadBytes('\n')
}

func (s *process) stats() (st Stats, err error) { return s.figures("stats") }

// cpu returns the CPU figures alone. This takes no time.
func (s *process) cpu() (st Stats, err error) { return s.figures("cpu") }

func (s *process) figures(command string) (st Stats, err error) {
	b, err := s.do(command)
	if err != nil {
		return st, err
	}
	return st, json.Unmarshal(b, &st)
}

// stop ends the process.
func (s *process) stop() {
	s.in.Close()
	s.cmd.Wait()
}
