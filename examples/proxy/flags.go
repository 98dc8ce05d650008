package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gobosh/bosh"
)

// sane refuses numbers if nothing would work with them, or if they would not
// mean the obvious.
func (cfg *config) sane() (err error) {
	refuse := func(bad bool, format string, args ...any) {
		if bad {
			err = errors.Join(err, fmt.Errorf(format, args...))
		}
	}
	o, c := &cfg.options, &cfg.connector
	refuse(c.timeout < 100*time.Millisecond, "-timeout: %s leaves servers no time", inSeconds(c.timeout))
	s := &cfg.shape
	refuse(s.bytes < 0 || s.stanzas < 0 || s.addrBytes < 0 || s.addrStanzas < 0, "-rate and the like: a negative number is none; 0 is no limit")
	refuse(s.bytes > 0 && s.bytes < minMessage, "-rate: %d bytes a second is less than %d", s.bytes, minMessage)
	refuse(s.addrBytes > 0 && s.addrBytes < minMessage, "-rate-per-client: %d bytes a second is less than %d", s.addrBytes, minMessage)
	refuse(cfg.keepalive < 0, "-keepalive: %s is no time; 0 is never", inSeconds(cfg.keepalive))
	refuse(cfg.linger < 0, "-linger: %s is no time", inSeconds(cfg.linger))
	refuse(cfg.drain < 0, "-drain: %s is no time", inSeconds(cfg.drain))
	refuse(cfg.idle <= 0, "-idle-timeout: %s is no time", inSeconds(cfg.idle))
	refuse(o.Wait < time.Second, "-wait: %s is less than 1s", inSeconds(o.Wait))
	refuse(o.Inactivity < time.Second, "-inactivity: %s is less than 1s", inSeconds(o.Inactivity))
	refuse(o.MaxSessions < 1, "-max-sessions: %d lets nobody in", o.MaxSessions)
	refuse(o.MaxPerAddr < 0, "-max-sessions-per-client: %d is no number of sessions; 0 is no limit", o.MaxPerAddr)
	refuse(o.MaxBody < minMessage || o.MaxBody > 256<<20, "-max-body: %d is not from %d to %d", o.MaxBody, minMessage, 256<<20)
	refuse(o.MaxElement < minMessage || o.MaxElement > 256<<20, "-max-stanza: %d is not from %d to %d", o.MaxElement, minMessage, 256<<20)
	refuse(o.Compress < 0, "-compress: %d is no size; 0 is never", o.Compress)
	refuse(o.MaxMemory < 0 || o.MaxMemory > 0 && o.MaxMemory < 1<<20, "-max-memory: %d is less than %d; 0 is no limit", o.MaxMemory, 1<<20)
	if o.MaxMemory == 0 {
		o.MaxMemory = -1 // as the library has it
	}
	refuse(o.Wait > maxWait, "-wait: %s is more than 1h", inSeconds(o.Wait))
	if o.Proof == bosh.ByKernel && !o.Direct {
		cfg.warnings = append(cfg.warnings, "-proof kernel does no more than -proof connection without -direct")
	}
	if o.MaxElement < usualStanza {
		cfg.warnings = append(cfg.warnings, fmt.Sprintf("-max-stanza is less than the %d bytes that RFC 6120 has servers send", usualStanza))
	}
	return err
}

const (
	maxWait     = time.Hour
	minMessage  = 1000
	usualStanza = 10_000 // RFC 6120, section 13.12
)

// durationVar defines a flag. Its error for a missing unit says so.
func durationVar(fs *flag.FlagSet, p *time.Duration, name string, value time.Duration, usage string) {
	*p = value
	fs.Var((*duration)(p), name, usage)
}

// numberVar defines a flag. Its error says that a number has no unit, as 1MB has.
func numberVar[T int | int64](fs *flag.FlagSet, p *T, name string, value T, usage string) {
	*p = value
	fs.Var(number[T]{p}, name, usage)
}

type number[T int | int64] struct{ p *T }

func (n number[T]) String() string {
	if n.p == nil { // as package flag tries
		return "0"
	}
	return strconv.FormatInt(int64(*n.p), 10)
}

func (n number[T]) Set(s string) error {
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil || int64(T(v)) != v {
		return errors.New("not a whole number, as 1048576 is: no unit, no point")
	}
	*n.p = T(v)
	return nil
}

// checkAddress refuses all that net.Listen would.
func checkAddress(name, s string) error {
	_, port, err := net.SplitHostPort(s)
	if err == nil && port != "" {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil || port == "" {
		return fmt.Errorf("%s: %q is no address with a port, as 127.0.0.1:5280 or :5280 is", name, s)
	}
	return nil
}

type duration time.Duration

func (d *duration) String() string { return inSeconds(time.Duration(*d)) }

func (d *duration) Set(s string) error {
	v, err := time.ParseDuration(s)
	if err != nil {
		if _, nerr := strconv.ParseFloat(s, 64); nerr == nil {
			return fmt.Errorf("a unit is missing, as in %ss", s)
		}
		return errors.New("not a time, as 90s or 2m are")
	}
	*d = duration(v)
	return nil
}

// parsePath parses the path of BOSH.
func parsePath(s string) (string, error) {
	p := "/" + strings.Trim(s, "/")
	switch {
	case p == "/":
		return "", fmt.Errorf("-path: %q is everything, which is not BOSH's alone", s)
	case slices.Contains([]string{healthPath, hostMetaPath, hostMetaPath + ".json"}, p):
		return "", fmt.Errorf("-path: %q is taken", s)
	case p != path.Clean(p) || strings.ContainsAny(p, "{}?#%") || strings.ContainsFunc(p, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return "", fmt.Errorf("-path: %q cannot be: it is the path of a URL, written as it is", s)
	}
	return p, nil
}

// parseOrigins returns origins in the form of browsers.
func parseOrigins(list []string) (map[string]bool, error) {
	set := make(map[string]bool)
	for _, s := range list {
		u, err := url.Parse(strings.TrimSuffix(s, "/"))
		switch {
		case s == "*":
			return nil, errors.New("-origin: leave it out, and all origins may")
		case err != nil || u.Scheme == "" || u.Hostname() == "" || *u != (url.URL{Scheme: u.Scheme, Host: u.Host}):
			return nil, fmt.Errorf("-origin: %q is none, as https://example.org is: scheme, host and port", s)
		case strings.Contains(u.Host, "*"):
			return nil, fmt.Errorf("-origin: %q: there is no wildcard; name each origin, or leave -origin out, and all may", s)
		case slices.Contains([]string{"ws", "wss", "xmpp", "ftp", "file"}, strings.ToLower(u.Scheme)):
			return nil, fmt.Errorf("-origin: %q: no page has that scheme; https://%s is meant", s, u.Host)
		}
		host := u.Hostname()
		if d, err := parseDomain(host); err == nil {
			host = d.host
		}
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		scheme := strings.ToLower(u.Scheme)
		if port := u.Port(); port != "" && port != map[string]string{"http": "80", "https": "443"}[scheme] {
			host += ":" + port
		}
		set[scheme+"://"+host] = true
	}
	return set, nil
}

// checkURL refuses anything but an empty text and a URL of one of the schemes.
func checkURL(name, s string, schemes ...string) error {
	u, err := url.Parse(s)
	if s == "" || err == nil && u.Host != "" && slices.Contains(schemes, strings.ToLower(u.Scheme)) {
		return nil
	}
	return fmt.Errorf("%s: %q is no URL that begins with %s://", name, s, strings.Join(schemes, ":// or "))
}

// inSeconds writes a time as it is written in a flag: 60s, and neither 1m0s nor a number
// without a unit.
func inSeconds(d time.Duration) string {
	if d.Abs() >= time.Second && d%time.Second == 0 {
		return strconv.FormatInt(int64(d/time.Second), 10) + "s"
	}
	return d.String()
}

// usage says how to use the program.
func usage(fs *flag.FlagSet) {
	fmt.Fprintf(fs.Output(), `%[1]s lets browsers in to an XMPP server, by BOSH (XEP-0124 and XEP-0206).

In front of the server on this machine, behind a web server on the same one:

	%[1]s -upstream 127.0.0.1:5222 -trust 127.0.0.1

Other commands:

	%[1]s probe URL DOMAIN   check any BOSH endpoint from outside: %[1]s probe -h
	%[1]s health [URL]       ask a running %[1]s whether it takes sessions, for containers

Flags:

`, program)
	fs.PrintDefaults()
}
