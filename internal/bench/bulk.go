//go:build linux

package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/internal/bench/lean"
)

// What a client of carrier asks for by the first byte.
const (
	wantsUpload   = 'u' // all that it sends is read
	wantsDownload = 'd' // it is sent bytes without an end
	wantsEcho     = 'e' // numbers of 4 bytes, each followed by so many bytes, which come back
)

// carrying returns what makes a server that carries bytes.
func carrying(o bosh.Options) func() server {
	return func() server {
		o.Framing, o.MaxSessions = bosh.Opaque, -1
		o.Serve = func(st *bosh.Stream) {
			var mode [1]byte
			io.ReadFull(st, mode[:])
			switch mode[0] {
			case wantsUpload:
				io.Copy(io.Discard, st)
			case wantsDownload:
				for b := make([]byte, 64<<10); ; {
					if _, err := st.Write(b); err != nil {
						return
					}
				}
			case wantsEcho:
				echoSized(st)
			}
		}
		return server{Handler: bosh.New(o)}
	}
}

func echoSized(c io.ReadWriter) {
	b := make([]byte, 4)
	for {
		if _, err := io.ReadFull(c, b[:4]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint32(b))
		b = slices.Grow(b[:4], n)[:4+n]
		if _, err := io.ReadFull(c, b[4:]); err != nil {
			return
		}
		if _, err := c.Write(b[4:]); err != nil {
			return
		}
	}
}

var carried = []string{doesCarry}

var bulk = []scenario{
	{"upload", "one client sends bytes, Opaque, 512 KB a body", carried, upload, bulkRows(targets{100, 150}, targets{8, 6})},
	{"download", "one client is sent bytes, Opaque", carried, download, bulkRows(targets{200, 250}, targets{4, 3})},
	{"echo1", "one byte each way, Opaque, to a POST through net/http", []string{doesPost, doesCarry}, sized(1), echoRows(targets{1.3, 0.9})},
	{"echo64k", "64 KB each way, Opaque, to a POST through net/http", []string{doesPost, doesCarry}, sized(64 << 10), echoRows(targets{1.5, 1.2})},
}

func bulkRows(rate, cpu targets) []row {
	return []row{
		{figure: "rate", what: "MB per second", targets: rate, least: true},
		{figure: "cpu", what: "CPU ms per MB", targets: cpu},
	}
}

func echoRows(each targets) []row {
	return append([]row{
		{figure: "each", what: "µs per round trip", ratio: true, targets: each},
		{figure: "cpu", what: "CPU µs per round trip", ratio: true},
	}, tails(targets{}, targets{})...)
}

// opens has one client open a stream, and say what it wants.
func (r *run) opens(wants byte) (*people, *lean.Session, error) {
	ps, err := r.people(1, 2)
	if err != nil {
		return nil, nil, err
	}
	s := ps.all[0].Session
	s.Creation = " to='example.com' wait='60' hold='1' ver='1.11'"
	created := false
	s.Restarted = func([]byte) { created = true }
	s.Create()
	if err := ps.run(func() bool { return created }, 10*time.Second); err != nil {
		return nil, nil, err
	}
	s.Got = func([]byte) {}
	s.Send(data([]byte{wants}))
	return ps, s, nil
}

// data returns b as Opaque carries it.
func data(b []byte) []byte {
	return fmt.Appendf(nil, "<data xmlns='%s'>%s</data>", bosh.OpaqueNS, base64.StdEncoding.EncodeToString(b))
}

// dataSize returns how many bytes payloads carry, about.
func dataSize(payloads []byte) (n int) {
	for len(payloads) > 0 {
		_, rest, ok := bytes.Cut(payloads, []byte(">"))
		if !ok {
			return n
		}
		i := bytes.IndexByte(rest, '<')
		if i < 0 {
			return n
		}
		n += base64.StdEncoding.DecodedLen(i)
		if i > 0 && rest[i-1] == '=' {
			n--
			if rest[i-2] == '=' {
				n--
			}
		}
		_, payloads, _ = bytes.Cut(rest[i:], []byte(">"))
	}
	return n
}

func upload(r *run) (figures, error) {
	const size = 512 << 10
	ps, s, err := r.opens(wantsUpload)
	if err != nil {
		return nil, err
	}
	body := data(make([]byte, size))
	sends := func() {
		for s.Free() > 0 {
			ps.n += size / 1e6
			s.Send(body)
		}
	}
	s.Got = func([]byte) { sends() }
	sends()
	return inMB(ps.measure())
}

func download(r *run) (figures, error) {
	ps, s, err := r.opens(wantsDownload)
	if err != nil {
		return nil, err
	}
	s.Got = func(payloads []byte) {
		ps.n += float64(dataSize(payloads)) / 1e6
		for s.Free() > 0 {
			s.Send(nil)
		}
	}
	s.Send(nil)
	return inMB(ps.measure())
}

// inMB has CPU times in milliseconds.
func inMB(f figures, err error) (figures, error) {
	if err == nil {
		f["cpu"] /= 1e3
	}
	return f, err
}

// sized has one client send so many bytes, and wait until they come back, by Opaque or by
// POST.
func sized(n int) func(*run) (figures, error) {
	return func(r *run) (figures, error) {
		if r.does == doesPost {
			return post(r, n)
		}
		ps, s, err := r.opens(wantsEcho)
		if err != nil {
			return nil, err
		}
		body := data(append(binary.BigEndian.AppendUint32(nil, uint32(n)), make([]byte, n)...))
		left := n
		var began time.Time
		next := func() {
			began, left = time.Now(), n
			s.Send(body)
		}
		s.Got = func(payloads []byte) {
			if left -= dataSize(payloads); len(payloads) > 0 && left == 0 {
				ps.n++
				ps.took = append(ps.took, time.Since(began))
				next()
			}
			if s.Held() == 0 {
				s.Send(nil)
			}
		}
		next()
		return ps.measure()
	}
}

// post does the same by POST.
func post(r *run, n int) (figures, error) {
	ps, err := r.people(0, 0)
	if err != nil {
		return nil, err
	}
	c, err := ps.l.Dial()
	if err != nil {
		return nil, err
	}
	head := fmt.Sprintf("POST /?%d HTTP/1.1\r\nHost: bench.example\r\nContent-Type: text/xml; charset=utf-8\r\nContent-Length: ", n)
	body := make([]byte, n)
	var began time.Time
	next := func() {
		began = time.Now()
		c.Post(head, body, nil)
	}
	c.Answered = func(b []byte) {
		if len(b) != n {
			ps.l.Fail(errors.New("an answer of another size"))
		}
		ps.n++
		ps.took = append(ps.took, time.Since(began))
		next()
	}
	next()
	return ps.measure()
}
