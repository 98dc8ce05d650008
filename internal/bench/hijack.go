//go:build linux

package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// A hijacker is the floor without net/http: it takes each connection over on its first
// request. Whoever has an answer writes it. It is the limit of Options.Direct.
type hijacker struct{ *floor }

func (h hijacker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := readBody(r)
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	c := &hijacked{floor: h.floor, conn: conn}
	c.serve(*body)
	bodies.Put(body)
	go c.loop() // with a stack of its own, and small
}

// A hijacked is a connection of a hijacker.
type hijacked struct {
	floor *floor
	conn  net.Conn
}

// serve serves the request with this body.
func (c *hijacked) serve(body []byte) {
	if answer, held := c.floor.receive(body, c); held == nil {
		c.answer(answer)
	}
}

var rooms4k = sync.Pool{New: func() any { return new([4 << 10]byte) }}

// loop serves all that comes.
func (c *hijacked) loop() {
	defer c.conn.Close()
	b, n := make([]byte, 1<<10), 0
	for {
		for {
			end := bytes.Index(b[:n], []byte("\r\n\r\n")) + 4
			if end < 4 {
				break
			}
			length := number(digits(b[:end]))
			if end+int(length) > n {
				break
			}
			c.serve(b[end : end+int(length)])
			n = copy(b, b[end+int(length):n])
		}
		if n == len(b) {
			b = append(b, make([]byte, len(b))...)
		}
		more, err := c.conn.Read(b[n:])
		if err != nil {
			return
		}
		n += more
	}
}

// digits returns the Content-Length in a head.
func digits(head []byte) []byte {
	_, rest, _ := bytes.Cut(head, []byte("\r\nContent-Length: "))
	i := bytes.IndexByte(rest, '\r')
	return rest[:max(i, 0)]
}

var hijackedHead = fmt.Sprintf("HTTP/1.1 200 OK\r\nCache-Control: %s\r\nX-Content-Type-Options: %s\r\nContent-Security-Policy: %s\r\n"+
	"Access-Control-Allow-Origin: %s\r\nContent-Type: %s\r\nDate: %s\r\nContent-Length: ",
	noStore[0], noSniff[0], sandbox[0], anyOrigin[0], contentType[0], time.Now().UTC().Format(http.TimeFormat))

// answer writes an answer.
func (c *hijacked) answer(body []byte) {
	room := rooms4k.Get().(*[4 << 10]byte)
	b := append(room[:0], hijackedHead...)
	b = append(strconv.AppendInt(b, int64(len(body)), 10), "\r\n\r\n"...)
	c.conn.Write(append(b, body...))
	rooms4k.Put(room)
}
