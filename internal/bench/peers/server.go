package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A client first asks for a service: a letter, and a number of nine digits.
const (
	echoService     = 'e' // what comes goes back
	uploadService   = 'u' // so many bytes are read, and one is written
	downloadService = 'd' // so many bytes are written, again for each that is read
	eventService    = 'i' // nothing but events
)

const requestSize = 10

// serve is the server's process: it serves a kind until its standard input ends.
func serve(name string) error {
	k, ok := kindNamed(name)
	if !ok {
		return fmt.Errorf("there is no kind %q", name)
	}
	slog.SetLogLoggerLevel(slog.LevelError)
	var waiting subscribers
	h, all := k.handler(func(c io.ReadWriteCloser) {
		defer c.Close()
		_ = waiting.serve(c) // the client has gone, which ends it
	})
	mux := http.NewServeMux()
	mux.Handle("/peers", h)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/subscribers", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, len(waiting.list())) })
	mux.HandleFunc("/event", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.FormValue("size"))
		all(bytes.Repeat([]byte("x"), n), waiting.list())
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	return http.Serve(ln, mux)
}

// subscribers are the conns waiting for events.
type subscribers struct {
	mu    sync.Mutex
	conns map[io.ReadWriteCloser]bool
}

func (s *subscribers) list() []io.ReadWriteCloser {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]io.ReadWriteCloser, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	return all
}

func (s *subscribers) serve(c io.ReadWriteCloser) error {
	var request [requestSize]byte
	if _, err := io.ReadFull(c, request[:]); err != nil {
		return err
	}
	size, err := strconv.Atoi(string(request[1:]))
	if err != nil {
		return err
	}
	switch request[0] {
	case echoService:
		_, err = io.Copy(c, c)
	case uploadService:
		if _, err = io.CopyN(io.Discard, c, int64(size)); err == nil {
			_, err = c.Write([]byte("k"))
		}
		io.Copy(io.Discard, c) // until the client has heard it
	case downloadService:
		err = download(c, size)
	case eventService:
		s.mu.Lock()
		if s.conns == nil {
			s.conns = make(map[io.ReadWriteCloser]bool)
		}
		s.conns[c] = true
		s.mu.Unlock()
		_, err = io.Copy(io.Discard, c)
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	default:
		err = errors.New("there is no such service")
	}
	return err
}

// download writes so many bytes for each byte read.
func download(c io.ReadWriteCloser, size int) error {
	piece := bytes.Repeat([]byte("x"), 32<<10)
	for {
		var one [1]byte
		if _, err := io.ReadFull(c, one[:]); err != nil {
			return err
		}
		for left := size; left > 0; left -= len(piece) {
			if _, err := c.Write(piece[:min(left, len(piece))]); err != nil {
				return err
			}
		}
	}
}

// A server is a server's process, as its clients have it.
type server struct {
	cmd   *exec.Cmd
	stdin io.Closer
	addr  string
}

func startServer(name string) (*server, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &server{cmd: exec.Command(program, "-serve", name)}
	s.cmd.Stderr = os.Stderr
	stdin, err := s.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	s.stdin = stdin
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("the server does not start: %w", err)
	}
	s.addr = strings.TrimSpace(line)
	return s, nil
}

func (s *server) stop() {
	s.stdin.Close()
	s.cmd.Wait()
}

func (s *server) url(path string) string { return "http://" + s.addr + path }

// get asks the server for a page.
func (s *server) get(path string) (string, error) {
	resp, err := http.Get(s.url(path))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

// cpu returns the processor time of the server, to 10 ms.
func (s *server) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])) // the name may have blanks
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100), nil // USER_HZ
}

// resident returns how much memory the server has.
func (s *server) resident() (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	var size, pages int
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		return 0, err
	}
	return pages * syscall.Getpagesize(), nil
}
