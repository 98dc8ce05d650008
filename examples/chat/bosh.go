package main

import (
	"context"
	"io"
	"net"
	"net/http"

	"github.com/gobosh/bosh"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stream"
)

// newBOSH returns the handler for BOSH clients.
func newBOSH(cfg *config, srv *server) *bosh.Handler {
	return bosh.New(bosh.Options{
		Wait:        cfg.wait,
		Inactivity:  cfg.inactivity,
		Polling:     cfg.polling,
		Pause:       cfg.maxpause,
		MaxSessions: cfg.maxSessions,
		Backlog:     1024, // many may come at once after a restart
		Direct:      cfg.direct,
		Logger:      srv.log,
		Admit: func(ctx context.Context, _ *http.Request, o *bosh.Opening) (context.Context, error) {
			// There are several ways to write a domain: in capitals, or with a dot
			// at its end. RFC 7622, section 3.2.
			to, err := jid.Parse(o.To)
			if err != nil { // also if there is none
				return nil, &bosh.Error{Condition: bosh.ImproperAddressing, Err: err}
			}
			if o.To = to.String(); o.To != srv.domain {
				return nil, &bosh.Error{Condition: bosh.HostUnknown}
			}
			if o.Version == "" {
				o.Version = "1.0" // the client does not say, and means no other
			}
			return ctx, nil
		},
	})
}

// secureBOSH reports whether c is the stream of a client on HTTPS.
func secureBOSH(c net.Conn) bool {
	s, ok := c.(*bosh.Stream)
	return ok && s.Session().Secure()
}

// isBOSH reports whether c is a stream. Its Handler ends it at shutdown.
func isBOSH(c net.Conn) bool {
	_, ok := c.(*bosh.Stream)
	return ok
}

// closeBOSH closes c if it is a stream. If the stream error could not be written
// because of a full buffer, the client gets it now, behind the waiting output.
func closeBOSH(c net.Conn, e stream.Error) bool {
	s, ok := c.(*bosh.Stream)
	if !ok {
		return false
	}
	if e.Err == "" {
		s.Close()
	} else {
		s.CloseWithError(&bosh.Error{Condition: bosh.RemoteStreamError, Payload: errorElement(e)})
	}
	return true
}

// watch returns the ledger of all items for c from now on. It drops an item once the
// client is proven to have it. It is nil for a TCP connection, since TCP cannot tell.
// The stream has been given so many elements before.
func watch(c net.Conn, before int64) *ledger {
	s, ok := c.(*bosh.Stream)
	if !ok {
		return nil
	}
	l := &ledger{proven: before}
	s.OnProven(l.proves)
	return l
}

// undelivered waits for the end of c, and returns the items that it was given and
// could not deliver for certain. A client that has ended its session has read the
// answers to its requests.
func undelivered(c net.Conn, l *ledger) []item {
	s, ok := c.(*bosh.Stream)
	if !ok {
		return nil
	}
	<-s.Context().Done()
	l.proves(s.Proven())
	all, unsent := 0, 0
	for p := range s.Undelivered() {
		if all++; !p.Sent {
			unsent++
		}
	}
	if s.Session().Err() == io.EOF {
		return l.left(unsent)
	}
	return l.left(all)
}
