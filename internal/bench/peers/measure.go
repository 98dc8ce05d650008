package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// A measure takes figures. Each is a row of the table.
type measure struct {
	name string
	rows []string
	take func(k kind, s *server, figure func(row, format string, args ...any)) error
}

var sizes = []int{1, 1 << 10, 64 << 10}

var measures = []measure{
	{"rtt", []string{
		"round trip of 1 B, median and 99 %, µs", "round trip of 1024 B, median and 99 %, µs", "round trip of 65536 B, median and 99 %, µs",
	}, roundTrips},
	{"up", []string{"upload, MB/s", "upload, CPU ms of the server a MB"}, upload},
	{"down", []string{"download, MB/s", "download, CPU ms of the server a MB"}, downloads},
	{"idle", []string{"memory of an idle connection, KB"}, idle},
	{"fan", []string{"an event of 200 B to all, until the last has it, ms", "the same, CPU µs of the server each"}, fan},
}

// newClient returns a client for n conns.
func newClient(n int) *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2 * n, DisableCompression: true}}
}

// open dials, and asks for a service.
func open(k kind, s *server, client *http.Client, service byte, size int) (io.ReadWriteCloser, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := k.dial(ctx, client, s.url("/peers"))
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(c, "%c%09d", service, size)
	return c, err
}

func roundTrips(k kind, s *server, figure func(string, string, ...any)) error {
	c, err := open(k, s, newClient(1), echoService, 0)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, size := range sizes {
		message, back := bytes.Repeat([]byte("x"), size), make([]byte, size)
		var took []time.Duration
		for begin := time.Now(); time.Since(begin) < *seconds || len(took) < 100; {
			sent := time.Now()
			if _, err := c.Write(message); err != nil {
				return err
			}
			if _, err := io.ReadFull(c, back); err != nil {
				return err
			}
			took = append(took, time.Since(sent))
		}
		took = took[len(took)/10:] // warm by then
		slices.Sort(took)
		figure(fmt.Sprintf("round trip of %d B, median and 99 %%, µs", size), "%d, %d",
			took[len(took)/2].Microseconds(), took[len(took)*99/100].Microseconds())
	}
	return nil
}

// bulk is how many bytes are carried at a time; a rate is of as many of these as the time
// allows.
var bulk = 16 << 20

func upload(k kind, s *server, figure func(string, string, ...any)) error {
	data := bytes.Repeat([]byte("x"), 32<<10)
	return rate(s, "upload", figure, func() error {
		c, err := open(k, s, newClient(1), uploadService, bulk)
		if err != nil {
			return err
		}
		defer c.Close()
		for range bulk / len(data) {
			if _, err := c.Write(data); err != nil {
				return err
			}
		}
		var done [1]byte
		_, err = io.ReadFull(c, done[:])
		return err
	})
}

func downloads(k kind, s *server, figure func(string, string, ...any)) error {
	c, err := open(k, s, newClient(1), downloadService, bulk)
	if err != nil {
		return err
	}
	defer c.Close()
	return rate(s, "download", figure, func() error {
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		_, err := io.CopyN(io.Discard, c, int64(bulk))
		return err
	})
}

// rate carries bulk again and again.
func rate(s *server, name string, figure func(string, string, ...any), carry func() error) error {
	if err := carry(); err != nil { // warm
		return err
	}
	before, err := s.cpu()
	if err != nil {
		return err
	}
	begin, n := time.Now(), 0
	for n == 0 || time.Since(begin) < *seconds {
		if err := carry(); err != nil {
			return err
		}
		n++
	}
	took := time.Since(begin)
	after, err := s.cpu()
	if err != nil {
		return err
	}
	mb := float64(n) * float64(bulk) / 1e6
	figure(name+", MB/s", "%.3g", mb/took.Seconds())
	figure(name+", CPU ms of the server a MB", "%.3g", 1e3*(after-before).Seconds()/mb)
	return nil
}

// subscribe opens all connections, and waits until the server has them.
func subscribe(k kind, s *server) ([]io.ReadWriteCloser, error) {
	client := newClient(*clients)
	conns, errs := make([]io.ReadWriteCloser, *clients), make([]error, *clients)
	var wg sync.WaitGroup
	places := make(chan struct{}, 64)
	for i := range conns {
		places <- struct{}{}
		wg.Go(func() {
			conns[i], errs[i] = open(k, s, client, eventService, 0)
			<-places
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return conns, err
		}
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		text, err := s.get("/subscribers")
		if err != nil {
			return conns, err
		}
		if n, _ := strconv.Atoi(text); n == *clients {
			return conns, nil
		}
		if time.Now().After(end) {
			return conns, fmt.Errorf("the server has %s of %d connections", text, *clients)
		}
	}
}

func closeAll(conns []io.ReadWriteCloser) {
	for _, c := range conns {
		if closer, ok := c.(interface{ CloseNow() error }); ok {
			closer.CloseNow()
		} else if c != nil {
			go c.Close()
		}
	}
}

// settling is how long idle connections have to give back unneeded memory.
var settling = 3 * time.Second

func idle(k kind, s *server, figure func(string, string, ...any)) error {
	before, err := s.resident()
	if err != nil {
		return err
	}
	conns, err := subscribe(k, s)
	defer closeAll(conns)
	if err != nil {
		return err
	}
	time.Sleep(settling)
	after, err := s.resident()
	if err != nil {
		return err
	}
	figure("memory of an idle connection, KB", "%.3g", float64(after-before)/float64(*clients)/1e3)
	return nil
}

// rounds is how many events are sent.
var rounds = 7

func fan(k kind, s *server, figure func(string, string, ...any)) error {
	const size = 200
	conns, err := subscribe(k, s)
	defer closeAll(conns)
	if err != nil {
		return err
	}
	var got sync.WaitGroup
	failed := make(chan error, *clients)
	for _, c := range conns {
		go func() {
			for event := make([]byte, size); ; got.Done() {
				if _, err := io.ReadFull(c, event); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	var took []time.Duration
	var cpu time.Duration
	for range rounds {
		time.Sleep(200 * time.Millisecond) // all hold a request again
		before, err := s.cpu()
		if err != nil {
			return err
		}
		got.Add(*clients)
		begin := time.Now()
		if _, err := s.get(fmt.Sprintf("/event?size=%d", size)); err != nil {
			return err
		}
		all := make(chan struct{})
		go func() { got.Wait(); close(all) }()
		select {
		case <-all:
		case err := <-failed:
			return err
		}
		took = append(took, time.Since(begin))
		time.Sleep(100 * time.Millisecond) // the next requests are the event's cost, too
		after, err := s.cpu()
		if err != nil {
			return err
		}
		cpu += after - before
	}
	slices.Sort(took)
	figure("an event of 200 B to all, until the last has it, ms", "%.3g", 1e3*took[rounds/2].Seconds())
	figure("the same, CPU µs of the server each", "%.3g", 1e6*cpu.Seconds()/float64(rounds**clients))
	return nil
}
