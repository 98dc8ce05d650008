package boshtest

import (
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
)

// A PipeServer is an [http.Server] on a [PipeListener], and a client's
// transport to it: real HTTP without sockets, also in the bubbles of
// [testing/synctest].
type PipeServer struct {
	// URL is where the server is. The host means nothing.
	URL string

	// Listener is the server's listener.
	Listener *PipeListener

	// Transport connects to the server. Set its fields before its first
	// use, for example Protocols to talk HTTP/2.
	Transport *http.Transport

	srv     *http.Server
	serving sync.WaitGroup

	mu    sync.Mutex // guards conns
	conns map[net.Conn]struct{}
}

// NewPipeServer serves h. The caller calls Close.
func NewPipeServer(h http.Handler) *PipeServer {
	return Pipe(&http.Server{Handler: h})
}

// Pipe starts srv on a new PipeListener. The caller calls Close.
func Pipe(srv *http.Server) *PipeServer {
	l := ListenPipe()
	s := &PipeServer{
		URL:       "http://pipe.test/",
		Listener:  l,
		Transport: &http.Transport{DialContext: l.DialContext, MaxIdleConnsPerHost: 2},
		srv:       srv,
	}
	s.serving.Go(func() { srv.Serve(accepter{l, s}) })
	return s
}

// An accepter keeps a record of a server's accepted connections.
type accepter struct {
	*PipeListener
	s *PipeServer
}

func (a accepter) Accept() (net.Conn, error) {
	c, err := a.PipeListener.Accept()
	if err != nil {
		return nil, err
	}
	c.(*pipeConn).closed = a.s.forget
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	if a.s.conns == nil {
		a.s.conns = make(map[net.Conn]struct{})
	}
	a.s.conns[c] = struct{}{}
	return c, nil
}

func (s *PipeServer) forget(c net.Conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

// RoundTrip implements [http.RoundTripper] by the Transport.
func (s *PipeServer) RoundTrip(r *http.Request) (*http.Response, error) {
	return s.Transport.RoundTrip(r)
}

// Close closes the server and all connections, hijacked ones included. It does
// not wait for handlers, as [http.Server.Close] does not.
func (s *PipeServer) Close() error {
	err := s.srv.Close()
	s.serving.Wait()
	s.mu.Lock()
	left := slices.Collect(maps.Keys(s.conns))
	s.mu.Unlock()
	for _, c := range left {
		c.Close()
	}
	s.Transport.CloseIdleConnections()
	return err
}
