package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshnats"
	"github.com/gobosh/bosh/boshnats/embed"
	"github.com/nats-io/nats.go"
)

// A clustering says how this proxy finds others, so any of them serves any session.
type clustering struct {
	node   string   // its name; or empty
	routes []string // addresses of others; or
	urls   []string // of NATS servers; or neither
	listen string   // where others come in, with routes
	secret string   // a file: what routes have to show, or credentials for NATS
}

// flags defines the flags.
func (c *clustering) flags(fs *flag.FlagSet) (finish func() error) {
	var with string
	fs.StringVar(&c.node, "node", "", "the `name` of this proxy among several for one endpoint, at the end of its session ids: of a-z, 0-9 and -, and public (default none, or with -cluster one made at random)")
	fs.StringVar(&with, "cluster", "", "proxies that serve each other's sessions: the -cluster-listen `addresses` of some or all of them, with commas between them; or URLs of NATS servers, as nats://10.0.0.9:4222")
	fs.StringVar(&c.listen, "cluster-listen", "", "`address` where the others reach this one, in a network that only they are in")
	fs.StringVar(&c.secret, "cluster-secret", "", "`file` with a password that the proxies of a cluster have in common; or of credentials, if NATS servers want them")
	return func() error { return c.choose(with) }
}

// on reports whether there is a cluster.
func (c *clustering) on() bool { return c.routes != nil || c.urls != nil }

// choose sets the meaning of -cluster.
func (c *clustering) choose(with string) (err error) {
	refuse := func(bad bool, format string, args ...any) {
		if bad {
			err = errors.Join(err, fmt.Errorf(format, args...))
		}
	}
	c.secret = os.ExpandEnv(c.secret)
	for _, s := range strings.FieldsFunc(with, func(r rune) bool { return r == ',' || r == ' ' }) {
		if !strings.Contains(s, "://") {
			_, aerr := parseEndpoint(s)
			refuse(aerr != nil, "-cluster: %q is no address, as 10.0.0.1:6222 is, and no URL of a NATS server", s)
			c.routes = append(c.routes, s)
			continue
		}
		u, uerr := url.Parse(s)
		refuse(uerr != nil || u.Host == "" || u.Path != "" || !slices.Contains([]string{"nats", "tls"}, u.Scheme),
			"-cluster: a URL of a NATS server begins with nats:// or tls://, and is nothing but that and a host")
		c.urls = append(c.urls, s)
	}
	if c.node != "" {
		nerr := bosh.CheckNode(c.node)
		refuse(nerr != nil, "-node: %v", nerr)
	}
	refuse(with != "" && !c.on(), "-cluster: there is no address in %q", with)
	refuse(c.routes != nil && c.urls != nil, "-cluster: either addresses of proxies, or URLs of NATS servers")
	refuse(!c.on() && c.listen != "", "-cluster-listen needs -cluster, with the addresses of some of the proxies; this one's own may be among them")
	refuse(!c.on() && c.secret != "", "-cluster-secret needs -cluster")
	refuse(c.urls != nil && c.listen != "", "-cluster-listen: with NATS servers nobody connects to this proxy")
	refuse(c.routes != nil && c.listen == "", "-cluster needs -cluster-listen, where the other proxies reach this one")
	if c.listen != "" {
		host, port, lerr := net.SplitHostPort(c.listen)
		refuse(lerr != nil || port == "" || port == "0", "-cluster-listen: %q is no address with a port, as 10.0.0.1:6222 is", c.listen)
		a, _ := netip.ParseAddr(host)
		refuse(lerr == nil && c.secret == "" && host != "localhost" && !a.IsLoopback(),
			"-cluster-listen: others than this machine can reach %s, and whoever does reads and says all: name a -cluster-secret", c.listen)
	}
	return err
}

// A member is this proxy as one of a cluster. It is nil if there is none.
type member struct {
	node  *boshnats.Node
	close []func() // in reverse order
}

// join makes the proxy one of the cluster, if there is one, and tells its options. It
// serves HTTP at an address.
func (c *clustering) join(o *bosh.Options, http string, log *slog.Logger) (m *member, err error) {
	o.Node = c.node
	if !c.on() {
		return nil, nil
	}
	m = &member{}
	defer func() {
		if err != nil {
			err = fmt.Errorf("-cluster: %w", err)
			m.leave()
		}
	}()
	nc, err := m.connect(c, log)
	if err != nil {
		return nil, err
	}
	// The largest request or answer within the limits.
	most := max(int(o.MaxBody)+64<<10, 4*o.MaxElement, 64<<20)
	if m.node, err = boshnats.Join(nc, boshnats.Options{Name: c.node, Addr: cmp.Or(c.listen, http), MaxMessage: most, Logger: log}); err != nil {
		return nil, err
	}
	o.Node, o.Relay = m.node.Name(), m.node.Relay
	m.close = append(m.close, m.node.Leave)
	return m, nil
}

// connect connects to NATS servers, or has one run in the process.
func (m *member) connect(c *clustering, log *slog.Logger) (*nats.Conn, error) {
	options := []nats.Option{
		nats.Name(program), nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("connection to NATS lost", "cause", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) { log.Info("connected to NATS again", "server", nc.ConnectedUrlRedacted()) }),
	}
	if c.urls != nil {
		if c.secret != "" {
			if _, err := os.ReadFile(c.secret); err != nil {
				return nil, fmt.Errorf("-cluster-secret: %w", err)
			}
			options = append(options, nats.UserCredentials(c.secret))
		}
		nc, err := nats.Connect(strings.Join(c.urls, ","), options...)
		if err != nil {
			return nil, err
		}
		m.close = append(m.close, nc.Close)
		return nc, nil
	}
	cfg := embed.Config{Listen: c.listen, Routes: c.routes, Connect: options}
	if c.secret != "" {
		text, err := os.ReadFile(c.secret)
		if err != nil {
			return nil, fmt.Errorf("-cluster-secret: %w", err)
		}
		if cfg.User, cfg.Password = program, strings.TrimSpace(string(text)); len(cfg.Password) < leastSecret {
			return nil, fmt.Errorf("-cluster-secret: what is in %s can be guessed: it has less than %d characters", c.secret, leastSecret)
		}
	}
	server, nc, err := embed.Start(cfg)
	if err != nil {
		return nil, err
	}
	m.close = append(m.close, server.Shutdown, nc.Close)
	return nc, nil
}

// leastSecret is how many characters a password of a cluster has.
const leastSecret = 16

// leave ends it, when the sessions have ended.
func (m *member) leave() {
	if m == nil {
		return
	}
	for _, f := range slices.Backward(m.close) {
		f()
	}
}
