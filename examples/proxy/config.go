package main

import (
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/internal/demo"
)

// A config is the command line.
type config struct {
	http, path, admin string
	adminHosts        []string
	publicURL         string
	certFile, keyFile string
	warnings          []string // of what works, but is hardly meant
	logJSON, verbose  bool
	version, check    bool
	keepalive, drain  time.Duration
	linger            time.Duration
	noCustody         bool
	idle              time.Duration // of a connection

	frontage  frontage
	connector connector
	cluster   clustering
	shape     shape
	options   bosh.Options
}

// parse reads the command line.
func parse(args []string, output io.Writer) (*config, error) {
	cfg := &config{}
	fs := flag.NewFlagSet(program, flag.ContinueOnError)
	fs.SetOutput(output)
	fs.Usage = func() {} // or a mistake would be said above a hundred lines
	fs.BoolVar(&cfg.version, "version", false, "say which version this is, and end")
	fs.BoolVar(&cfg.check, "check", false, "connect to the XMPP server of each -domain, or of -upstream, say what it offers, and end")
	finishWeb := cfg.webFlags(fs)
	finishServer := cfg.serverFlags(fs)
	finishCluster := cfg.cluster.flags(fs)
	cfg.limitFlags(fs)
	cfg.shape.flags(fs)
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		usage(fs)
		return nil, err
	case err != nil:
		fmt.Fprintf(output, "%s -h lists all flags\n", program)
		return nil, err
	}
	if cfg.version {
		return cfg, nil
	}
	err := errors.Join(cfg.sane(), finishWeb(), finishServer(), finishCluster())
	if fs.NArg() > 0 {
		err = errors.Join(err, fmt.Errorf("no arguments are wanted, but there is %q", fs.Arg(0)))
	}
	if err != nil {
		fmt.Fprintln(output, err)
	}
	return cfg, err
}

// webFlags defines the flags of the HTTP side.
func (cfg *config) webFlags(fs *flag.FlagSet) (finish func() error) {
	fs.StringVar(&cfg.http, "http", "127.0.0.1:5280", "`address` to serve BOSH at")
	fs.StringVar(&cfg.path, "path", "/http-bind", "`path` of BOSH")
	fs.StringVar(&cfg.certFile, "cert", "", "PEM `file` of a certificate, to serve by HTTPS; read again when it changes, and at SIGHUP; variables as $CREDENTIALS_DIRECTORY stand for their values")
	fs.StringVar(&cfg.keyFile, "key", "", "PEM `file` of its key")
	fs.StringVar(&cfg.admin, "admin", "", "`address` to serve /metrics, /healthz and /sessions at, not for the public")
	fs.Func("admin-host", "a further `name` by which -admin may be reached; addresses and localhost always do; may be given again", listFlag(&cfg.adminHosts))
	fs.StringVar(&cfg.publicURL, "public-url", "", "`URL` of BOSH as clients see it; with it host-meta is served (XEP-0156)")
	fs.BoolVar(&cfg.logJSON, "log-json", false, "log in JSON")
	fs.BoolVar(&cfg.verbose, "v", false, "log more; never what is said, nor any secret")
	fs.Func("trust", "`network` (CIDR) of HTTP proxies in front, whose word on the client's address counts; may be given again",
		prefixFlag(&cfg.frontage.trusted))
	fs.BoolVar(&cfg.frontage.rfc7239, "forwarded", false, "take the client's address from Forwarded (RFC 7239) and not from X-Forwarded-For")
	var origins []string
	fs.Func("origin", "`origin` of pages that may use BOSH, as https://example.org; may be given again (default all)", listFlag(&origins))
	return func() (err error) {
		cfg.certFile, cfg.keyFile = os.ExpandEnv(cfg.certFile), os.ExpandEnv(cfg.keyFile)
		if origins != nil {
			allowed, oerr := parseOrigins(origins)
			err = errors.Join(err, oerr)
			cfg.options.AllowOrigin = func(origin string) bool { return allowed[origin] }
		}
		if slices.ContainsFunc(cfg.frontage.trusted, func(p netip.Prefix) bool { return p.Bits() == 0 }) {
			cfg.warnings = append(cfg.warnings, "-trust is for everybody, so that clients can say of themselves who they are")
		}
		err = errors.Join(err, checkAddress("-http", cfg.http))
		if cfg.admin != "" {
			err = errors.Join(err, checkAddress("-admin", cfg.admin))
		}
		if _, port, _ := net.SplitHostPort(cfg.admin); cfg.admin == cfg.http && port != "0" {
			err = errors.Join(err, errors.New("-admin: it needs an address of its own, since -http is for the public"))
		}
		for _, name := range cfg.adminHosts {
			if _, nerr := parseDomain(name); nerr != nil || strings.ContainsAny(name, ":/") {
				err = errors.Join(err, fmt.Errorf("-admin-host: %q is no name, as monitor.example.org is, without scheme and port", name))
			}
		}
		var perr error
		cfg.path, perr = parsePath(cfg.path)
		if (cfg.certFile == "") != (cfg.keyFile == "") {
			err = errors.Join(err, errors.New("-cert and -key go together"))
		}
		return errors.Join(err, perr, checkURL("-public-url", cfg.publicURL, "https"), checkURL("-see-other", cfg.options.SeeOther, "https", "http"))
	}
}

// serverFlags defines the flags of the XMPP side.
func (cfg *config) serverFlags(fs *flag.FlagSet) (finish func() error) {
	c := &cfg.connector
	c.resolver = net.DefaultResolver
	c.dial = new(net.Dialer).DialContext
	var upstream, ca, tlsFlag string
	var domains, routes []string
	fs.StringVar(&upstream, "upstream", "", "the XMPP server, as `host:port`; or a domain whose DNS records say where it is (default the domain that a client names)")
	fs.Func("domain", "a `domain` that is served; may be given again; * for all (default all with -upstream, else none)", listFlag(&domains))
	fs.Func("route", "a `host:port` that a client may ask for by route; may be given again", listFlag(&routes))
	fs.Func("allow-net", "a private `network` (CIDR) that DNS records may lead to; may be given again", prefixFlag(&c.guard.allowed))
	fs.StringVar(&tlsFlag, "tls", string(startTLS), "how to talk to an -upstream with a port: starttls, direct, or none (on loopback only)")
	fs.StringVar(&ca, "ca", "", "PEM `file` of certificates to trust instead of the system's")
	fs.BoolVar(&c.insecure, "insecure", false, "check no certificates; only for servers on loopback")
	fs.BoolVar(&c.proxyProto, "proxy-protocol", false, "tell the server the client's address by the PROXY protocol, version 2")
	durationVar(fs, &c.timeout, "timeout", 10*time.Second, "the `time` that a server has to be connected to, to answer, and to take what is sent to it")
	fs.BoolVar(&cfg.noCustody, "no-custody", false, "have no server keep what a client is not known to have; by default those with stream management do")
	fs.Func("proof", "what proves that a client has an answer: `protocol` (default); connection, also the next request on it; or kernel, also its acknowledgement of TCP (-direct, Linux); the latter two only without an HTTP proxy in between, nor clients that pipeline",
		func(s string) error {
			proof, ok := map[string]bosh.Proof{"protocol": bosh.ByProtocol, "connection": bosh.ByConnection, "kernel": bosh.ByKernel}[s]
			if cfg.options.Proof = proof; !ok {
				return errors.New("say protocol, connection or kernel")
			}
			return nil
		})
	durationVar(fs, &cfg.keepalive, "keepalive", 2*time.Minute, "the `time` of a client's silence after which its server is asked for a sign of life; 0 for never")
	return func() (err error) {
		c.maxStanza = cfg.options.MaxElement
		if c.domains, err = domainSet(domains); err != nil {
			return err
		}
		for _, r := range routes {
			e, err := parseEndpoint(r)
			if err != nil {
				return fmt.Errorf("-route: %w", err)
			}
			c.routes = append(c.routes, e)
		}
		if ca != "" {
			pem, err := os.ReadFile(ca)
			if err != nil {
				return fmt.Errorf("-ca: %w", err)
			}
			if c.roots = x509.NewCertPool(); !c.roots.AppendCertsFromPEM(pem) {
				return fmt.Errorf("-ca: no certificate in %s", ca)
			}
		}
		err = c.choose(upstream, tlsMode(tlsFlag), len(domains) > 0)
		if c.plain() && err == nil {
			cfg.warnings = append(cfg.warnings, "-insecure and -tls none work with servers at a loopback address alone")
		}
		return err
	}
}

// choose sets the meaning of -upstream.
func (c *connector) choose(upstream string, mode tlsMode, restricted bool) error {
	if mode != startTLS && mode != directTLS && mode != noTLS {
		return fmt.Errorf("-tls: %q is not starttls, direct or none", mode)
	}
	if upstream == "" && !restricted {
		return errors.New("say which server to front, by -upstream, or which domains, by -domain; a proxy for all would be an open relay")
	}
	if strings.Contains(upstream, ":") {
		e, err := parseEndpoint(upstream)
		if err != nil {
			return fmt.Errorf("-upstream: %w", err)
		}
		e.tls = mode
		if a, err := netip.ParseAddr(e.host); err == nil && !a.Unmap().IsLoopback() && (c.insecure || mode == noTLS) {
			return fmt.Errorf("-upstream: %w", errNotLoopback)
		}
		c.fixed = &e
		return nil
	}
	if mode != startTLS {
		return errors.New("-tls needs an -upstream with a port; DNS records say how to talk to others")
	}
	if upstream == "" {
		return nil
	}
	if _, err := netip.ParseAddr(upstream); err == nil || strings.EqualFold(strings.TrimSuffix(upstream, "."), "localhost") {
		return fmt.Errorf("-upstream: %s has no DNS records that say where its server is: give the port, as %s:5222", upstream, upstream)
	}
	via, err := parseDomain(upstream)
	if err != nil {
		return fmt.Errorf("-upstream: %q: %w", upstream, err)
	}
	c.via = via.host
	return nil
}

// plain reports whether only servers on loopback are connected to, and the one that is meant
// may be elsewhere.
func (c *connector) plain() bool {
	if e := c.fixed; e != nil {
		a, err := netip.ParseAddr(e.host)
		return (c.insecure || e.tls == noTLS) && e.host != "localhost" && (err != nil || !a.Unmap().IsLoopback())
	}
	return c.insecure
}

// limitFlags defines the flags for the library's options.
func (cfg *config) limitFlags(fs *flag.FlagSet) {
	o := &cfg.options
	durationVar(fs, &o.Wait, "wait", 50*time.Second, "the longest `time` that a request is held; keep it below the time-outs of HTTP proxies in front")
	durationVar(fs, &cfg.idle, "idle-timeout", demo.IdleTimeout, "the `time` that a connection is kept without a request; longer than HTTP proxies in front keep it")
	durationVar(fs, &o.Inactivity, "inactivity", 75*time.Second, "the longest `time` that a client may be without a request")
	numberVar(fs, &o.MaxSessions, "max-sessions", 10000, "how many `sessions` there may be")
	numberVar(fs, &o.MaxPerAddr, "max-sessions-per-client", 0, "how many `sessions` one address may have; 0 for no limit")
	numberVar(fs, &o.MaxBody, "max-body", 1<<20, "the largest request in `bytes`")
	numberVar(fs, &o.MaxElement, "max-stanza", 1<<20, "the largest stanza of a server in `bytes`")
	numberVar(fs, &o.MaxMemory, "max-memory", 1<<30, "how many `bytes` all sessions together may keep, and a quarter of that on top for what comes from servers; 0 for no limit")
	numberVar(fs, &o.Compress, "compress", 0, "compress answers of so many `bytes` or more; 0 for never")
	fs.BoolVar(&o.Direct, "direct", false, "take HTTP/1.1 connections over from net/http, to hold more requests in less memory")
	fs.StringVar(&o.SeeOther, "see-other", "", "`URL` of BOSH that clients are sent to at the end")
	durationVar(fs, &cfg.linger, "linger", 0, "the `time` that sessions go on for at the end, while new ones are refused; -drain begins after it")
	durationVar(fs, &cfg.drain, "drain", 20*time.Second, "the `time` that clients and servers have to hear of the end; if it is short, servers have 11s all the same")
}

func listFlag(to *[]string) func(string) error {
	return func(s string) error {
		*to = append(*to, s)
		return nil
	}
}

func prefixFlag(to *[]netip.Prefix) func(string) error {
	return func(s string) error {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, aerr := netip.ParseAddr(s)
			if aerr != nil {
				return errors.New("no address or network, as 10.0.0.1 or 10.0.0.0/8 is")
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		if p, err = unmap(p); err != nil {
			return err
		}
		*to = append(*to, p.Masked())
		return nil
	}
}

// unmap returns a network of IPv4 as such, however it is written.
func unmap(p netip.Prefix) (netip.Prefix, error) {
	const mapped = 96 // bits of ::ffff:0:0/96
	if !p.Addr().Is4In6() {
		return p, nil
	}
	if p.Bits() < mapped {
		return p, fmt.Errorf("%v has IPv4 addresses and others: name the networks one by one", p)
	}
	return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped), nil
}

// domainSet returns the domains as names of DNS, or nil if all are meant.
func domainSet(domains []string) (map[string]bool, error) {
	var set map[string]bool
	for _, d := range domains {
		if d == "*" {
			return nil, nil
		}
		parsed, err := parseDomain(d)
		if err != nil {
			return nil, fmt.Errorf("-domain: %q: %w", d, err)
		}
		if set == nil {
			set = make(map[string]bool)
		}
		set[parsed.host] = true
	}
	return set, nil
}
