package main

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// A resolver looks names up. *net.Resolver is one.
type resolver interface {
	LookupSRV(ctx context.Context, service, proto, name string) (cname string, addrs []*net.SRV, err error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// The service names of XMPP for clients: RFC 6120, section 3.2, and XEP-0368.
const (
	serviceSTARTTLS = "xmpp-client"
	serviceDirect   = "xmpps-client"
)

const defaultPort = 5222

// errNoService is the error of a domain that offers clients no XMPP.
var errNoService = errors.New("the domain has no XMPP service for clients")

// maxEndpoints is how many places of a domain are tried.
const maxEndpoints = 8

// lookup returns where the XMPP server of a domain may be, the best place
// first: the SRV records for direct TLS and for STARTTLS in one common order
// (XEP-0368), and if there are none the domain itself.
func lookup(ctx context.Context, r resolver, domain string) ([]endpoint, error) {
	type answer struct {
		records []record
		err     error
	}
	direct := make(chan answer, 1)
	go func() {
		records, err := lookupSRV(ctx, r, serviceDirect, domain, directTLS)
		direct <- answer{records, err}
	}()
	records, err := lookupSRV(ctx, r, serviceSTARTTLS, domain, startTLS)
	d := <-direct
	records = append(records, d.records...)
	if err == nil {
		err = d.err
	}
	if len(records) == 0 {
		if err != nil {
			return nil, err
		}
		return []endpoint{{host: domain, port: defaultPort, tls: startTLS}}, nil
	}
	var es []endpoint
	for _, r := range order(records, rand.IntN) {
		if r.host != "" && len(es) < maxEndpoints {
			es = append(es, r.endpoint)
		}
	}
	if es == nil {
		return nil, errNoService
	}
	return es, nil
}

// A record is an SRV record. An empty host means no such service.
type record struct {
	endpoint
	priority, weight uint16
}

func lookupSRV(ctx context.Context, r resolver, service, domain string, mode tlsMode) (records []record, err error) {
	_, srvs, err := r.LookupSRV(ctx, service, "tcp", absolute(domain))
	if len(srvs) == 0 && !notFound(err) {
		return nil, err
	}
	for _, s := range srvs {
		host := strings.TrimSuffix(s.Target, ".")
		records = append(records, record{endpoint{host: host, port: s.Port, tls: mode}, s.Priority, s.Weight})
	}
	return records, nil
}

// absolute returns a name in absolute form, so no search list is tried, as that
// of resolv.conf: a name from somebody else is a whole name.
func absolute(name string) string { return strings.TrimSuffix(name, ".") + "." }

// lookupHost returns the addresses of an endpoint's host. A host named by the
// operator may be in the local network, if it is not in the DNS.
func lookupHost(ctx context.Context, r resolver, e endpoint) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(e.host); err == nil {
		return []netip.Addr{a}, nil
	}
	if e.trusted && !strings.Contains(e.host, ".") {
		return r.LookupNetIP(ctx, "ip", e.host)
	}
	addrs, err := r.LookupNetIP(ctx, "ip", absolute(e.host))
	if e.trusted && notFound(err) && !strings.HasSuffix(e.host, ".") {
		return r.LookupNetIP(ctx, "ip", e.host)
	}
	return addrs, err
}

// notFound reports whether an error is a definite answer: no such name.
func notFound(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

// order sorts records by priority, and at random by weight within a priority.
// RFC 2782.
func order(records []record, intN func(int) int) []record {
	slices.SortStableFunc(records, func(a, b record) int { return cmp.Compare(a.priority, b.priority) })
	for from := 0; from < len(records); {
		to := from + 1
		for to < len(records) && records[to].priority == records[from].priority {
			to++
		}
		shuffle(records[from:to], intN)
		from = to
	}
	return records
}

func shuffle(records []record, intN func(int) int) {
	sum := 0
	for _, r := range records {
		sum += int(r.weight)
	}
	for ; len(records) > 1; records = records[1:] {
		n := intN(sum + 1)
		for i := range records {
			if n -= int(records[i].weight); n <= 0 {
				sum -= int(records[i].weight)
				records[0], records[i] = records[i], records[0]
				break
			}
		}
	}
}
