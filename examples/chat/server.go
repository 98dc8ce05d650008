package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"mellium.im/xmpp/stream"
)

// A server is an XMPP server for one domain. It does not care where its
// connections come from.
type server struct {
	*router
	accounts *accounts
	reloads  reloads // of the page

	anonymous   bool // guests may log in
	insecure    bool // passwords may come in the clear from anywhere
	maxSessions int  // 0 is no limit
	log         *slog.Logger

	mu sync.Mutex
	// Protects following.
	sessions map[*session]bool
	last     uint64        // session made
	closing  bool          // no more are taken
	empty    chan struct{} // made when closing, closed when none is left
}

func newServer(a *accounts, log *slog.Logger) *server {
	return &server{
		router:   newRouter(a),
		accounts: a,
		log:      log,
		sessions: make(map[*session]bool),
	}
}

// serve accepts connections until the listener is closed: of TCP or of BOSH,
// it is all the same.
func (srv *server) serve(ln net.Listener) error {
	for delay := time.Duration(0); ; {
		c, err := ln.Accept()
		var ne net.Error
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case errors.As(err, &ne) && ne.Timeout(), err != nil && delay < time.Second:
			// Out of files, most likely. It may pass.
			delay = max(2*delay, 5*time.Millisecond)
			srv.log.Warn("accept failed", "err", err)
			time.Sleep(delay)
			continue
		case err != nil:
			return err
		}
		delay = 0
		go srv.serveConn(c)
	}
}

// serveConn serves a client until it is gone.
func (srv *server) serveConn(c net.Conn) {
	s := &session{srv: srv, conn: newConn(c)}
	s.out = newOutbox(s.conn, srv.domain)
	s.plainAllowed = srv.insecure || secure(c) || s.conn.loopback()
	ok := srv.enter(s)
	defer srv.exit(s)
	if !ok {
		s.stop(stream.ResourceConstraint)
	}
	s.run()
}

// secure reports whether nobody between the client and here can listen.
func secure(c net.Conn) bool {
	_, ok := c.(*tls.Conn)
	return ok || secureBOSH(c)
}

// enter adds a session, and reports whether there is room for it.
func (srv *server) enter(s *session) bool {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	srv.last++
	s.id = strconv.FormatUint(srv.last, 10)
	srv.sessions[s] = true
	if srv.closing && !isBOSH(s.conn.Conn) {
		s.stop(stream.SystemShutdown)
	}
	return srv.maxSessions <= 0 || len(srv.sessions) <= srv.maxSessions
}

func (srv *server) exit(s *session) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	delete(srv.sessions, s)
	if srv.closing {
		srv.checkEmpty()
	}
}

// checkEmpty closes srv.empty if no session is left. The caller holds srv.mu.
func (srv *server) checkEmpty() {
	select {
	case <-srv.empty:
	default:
		if len(srv.sessions) == 0 {
			close(srv.empty)
		}
	}
}

// shutdown tells every client of the server's end, and waits until they all
// have heard it. BOSH clients hear it from their Handler: shut it down at the
// same time. Close the listeners first.
func (srv *server) shutdown(ctx context.Context) error {
	srv.mu.Lock()
	if !srv.closing {
		srv.closing = true
		srv.empty = make(chan struct{})
		srv.checkEmpty()
		for s := range srv.sessions {
			if !isBOSH(s.conn.Conn) {
				s.stop(stream.SystemShutdown)
			}
		}
	}
	srv.mu.Unlock()
	select {
	case <-srv.empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
