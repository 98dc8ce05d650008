// Package embed runs a NATS server in the process, so nodes need no other service: they
// find each other by the addresses of some of them.
package embed

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// A Config says where a server listens, and where others do.
type Config struct {
	// Name is its name in the logs of others. The default is made at random.
	Name string

	// Listen is the address for routes: the connections of the other servers. Give it a
	// network of nodes only, or set TLS. The default is a free port of 127.0.0.1.
	Listen string

	// Routes are addresses of others, as "10.0.0.2:6222"; one running is enough, and
	// its own does no harm. They may start in any order.
	Routes []string

	// User and Password are the login of routes, the same on all nodes.
	User, Password string

	// TLS is for routes, both ways: with ClientAuth and ClientCAs others have to show a
	// certificate.
	TLS *tls.Config

	// Wait is how long Start waits for one of the Routes. The default is 2 s; negative
	// does not wait. It does not fail if there is none: somebody has to be the first.
	Wait time.Duration

	// Options, if it is not nil, may change everything else before the server starts.
	Options func(*server.Options)

	// Connect are options of the connection to it.
	Connect []nats.Option
}

// Start starts a server, and returns a connection to it without a socket. It listens
// for other clients of NATS on loopback, and lets none in, unless Options does.
//
// Close the connection and call server.Shutdown at the end.
func Start(c Config) (*server.Server, *nats.Conn, error) {
	host, port := "127.0.0.1", server.RANDOM_PORT
	if c.Listen != "" {
		h, p, err := net.SplitHostPort(c.Listen)
		if err != nil {
			return nil, nil, fmt.Errorf("boshnats: Listen: %w", err)
		}
		if host = h; p != "0" {
			if port, err = strconv.Atoi(p); err != nil {
				return nil, nil, fmt.Errorf("boshnats: Listen: no port: %q", p)
			}
		}
	}
	// Without a listener for clients there are no routes. Nobody else knows the password.
	user, password := rand.Text(), rand.Text()
	o := &server.Options{
		ServerName: c.Name, Host: "127.0.0.1", Port: server.RANDOM_PORT, Username: user, Password: password, NoSigs: true, NoLog: true, MaxPayload: 8 << 20, MaxPending: 256 << 20,
		Cluster: server.ClusterOpts{Name: "bosh", Host: host, Port: port, Username: c.User, Password: c.Password, TLSConfig: c.TLS},
	}
	if c.TLS != nil {
		o.Cluster.TLSTimeout = 5
	}
	for _, r := range c.Routes {
		if _, _, err := net.SplitHostPort(r); err != nil {
			return nil, nil, fmt.Errorf("boshnats: Routes: %w", err)
		}
		u := &url.URL{Scheme: "nats", Host: r}
		if c.User != "" {
			u.User = url.UserPassword(c.User, c.Password)
		}
		o.Routes = append(o.Routes, u)
	}
	if c.Options != nil {
		c.Options(o)
	}
	s, err := server.NewServer(o)
	if err != nil {
		return nil, nil, fmt.Errorf("boshnats: %w", err)
	}
	go s.Start() // its goroutines end by Shutdown
	if !s.ReadyForConnections(10 * time.Second) {
		s.Shutdown()
		return nil, nil, errors.New("boshnats: the NATS server does not start: is its address taken?")
	}
	wait := c.Wait
	if wait == 0 {
		wait = 2 * time.Second
	}
	for began := time.Now(); len(c.Routes) > 0 && s.NumRoutes() == 0 && time.Since(began) < wait; {
		time.Sleep(20 * time.Millisecond)
	}
	nc, err := nats.Connect("", append([]nats.Option{
		nats.InProcessServer(s), nats.MaxReconnects(-1), nats.UserInfo(user, password),
	}, c.Connect...)...)
	if err != nil {
		s.Shutdown()
		return nil, nil, fmt.Errorf("boshnats: %w", err)
	}
	return s, nc, nil
}

// Addr returns where a server listens for routes.
func Addr(s *server.Server) string {
	if a := s.ClusterAddr(); a != nil {
		return a.String()
	}
	return ""
}
