package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/gobosh/bosh"
)

// tryServers connects to the server of each domain, and prints its offers.
func (cfg *config) tryServers(ctx context.Context, out io.Writer) error {
	fmt.Fprintln(out, "The flags are good.")
	for _, w := range cfg.warnings {
		fmt.Fprintln(out, "But", w+".")
	}
	c := &cfg.connector
	var domains []string
	for d := range c.domains {
		domains = append(domains, d)
	}
	slices.Sort(domains)
	switch {
	case len(domains) > 0:
	case c.via != "":
		domains = []string{c.via}
	case c.fixed != nil && net.ParseIP(c.fixed.host) == nil:
		domains = []string{c.fixed.host}
	default:
		domains = []string{"localhost"}
		fmt.Fprintln(out, "No domain is named, so localhost is tried: name yours by -domain.")
	}
	var errs []error
	for _, name := range domains {
		if err := c.try(ctx, name, out); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// try connects to the server of a domain, and prints its offers.
func (c *connector) try(ctx context.Context, name string, out io.Writer) error {
	d, err := parseDomain(name)
	if err != nil {
		return err
	}
	began := time.Now()
	conn, err := c.connect(ctx, request{domain: d})
	if err != nil {
		return plainly(err)
	}
	defer conn.Close()
	fmt.Fprintf(out, "%s: connected to %v in %v%s.\n", d.name, conn.RemoteAddr(), time.Since(began).Round(time.Millisecond), secured(conn))
	conn.SetDeadline(time.Now().Add(c.timeout))
	if _, err := io.WriteString(conn, "<?xml version='1.0'?><stream:stream to='"+escapedText(d.name)+
		"' version='1.0' xml:lang='en' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"); err != nil {
		return err
	}
	f, err := readFeatures(io.LimitReader(conn, 1<<20))
	if err != nil {
		return fmt.Errorf("connected, but it sends no features: %w", err)
	}
	io.WriteString(conn, streamEnd)
	has := func(yes bool) string {
		if yes {
			return "yes"
		}
		return "no"
	}
	mechanisms := "none"
	if len(f.Mechanisms) > 0 {
		mechanisms = strings.Join(f.Mechanisms, " ")
	}
	fmt.Fprintf(out, "%s: logins by %s. Registration: %s. Other features: %s.\n", d.name, mechanisms, has(f.Register), cmpOr(strings.Join(f.Other, ", "), "none"))
	if len(f.Mechanisms) == 0 {
		return errors.New("nobody can log in: the server offers no mechanism without more encryption than the proxy has to it; see -tls")
	}
	return nil
}

func cmpOr(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// plainly returns an error without the library's words around it.
func plainly(err error) error {
	var e *bosh.Error
	if errors.As(err, &e) && e.Err != nil {
		return fmt.Errorf("%s: %w", e.Condition, e.Err)
	}
	return err
}

// secured says how a connection is encrypted.
func secured(conn net.Conn) string {
	t, ok := conn.(*tls.Conn)
	if !ok {
		return ", without TLS"
	}
	s := t.ConnectionState()
	by := ", by " + tls.VersionName(s.Version)
	if len(s.PeerCertificates) > 0 {
		by += ", with a certificate good until " + s.PeerCertificates[0].NotAfter.Format(time.DateOnly)
	}
	return by
}

func escapedText(s string) string {
	var b bytes.Buffer
	xml.EscapeText(&b, []byte(s))
	return b.String()
}

// features are the offers of a server.
type features struct {
	Mechanisms []string
	Register   bool
	Other      []string // the names of all else
}

// readFeatures reads a stream as far as its features.
func readFeatures(r io.Reader) (f features, err error) {
	d := xml.NewDecoder(r)
	for {
		t, err := d.Token()
		if err != nil {
			return f, err
		}
		start, ok := t.(xml.StartElement)
		switch {
		case !ok || start.Name == xml.Name{Space: nsStream, Local: "stream"}:
		case start.Name == xml.Name{Space: nsStream, Local: "features"}:
			var x struct {
				Mechanisms struct {
					Mechanism []string `xml:"mechanism"`
				} `xml:"urn:ietf:params:xml:ns:xmpp-sasl mechanisms"`
				Any []struct{ XMLName xml.Name } `xml:",any"`
			}
			if err := d.DecodeElement(&x, &start); err != nil {
				return f, err
			}
			f.Mechanisms = x.Mechanisms.Mechanism
			for _, e := range x.Any {
				if e.XMLName.Local == "register" {
					f.Register = true
				} else {
					f.Other = append(f.Other, e.XMLName.Local+" ("+e.XMLName.Space+")")
				}
			}
			return f, nil
		case start.Name == xml.Name{Space: nsStream, Local: "error"}:
			var x struct {
				Any []struct{ XMLName xml.Name } `xml:",any"`
			}
			d.DecodeElement(&x, &start)
			if len(x.Any) > 0 {
				return f, fmt.Errorf("stream error %s", x.Any[0].XMLName.Local)
			}
			return f, errors.New("stream error")
		default:
			return f, fmt.Errorf("an element %s", start.Name.Local)
		}
	}
}
