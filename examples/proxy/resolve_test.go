package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// names is a resolver that knows what a test says. An address of "broken" makes
// the lookup fail. What is not asked for as a whole name, with a dot at the end,
// is not the DNS's: local knows it.
type names struct {
	srv   map[string][]*net.SRV // by service.name
	hosts map[string][]string
	local map[string][]string
}

var errBroken = errors.New("the name server is broken")

func (n names) LookupSRV(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
	name, whole := strings.CutSuffix(name, ".")
	srvs, ok := n.srv[service+"."+name]
	switch {
	case !whole:
		return "", nil, errors.New("not the whole name: " + name)
	case proto != "tcp" || !ok:
		return "", nil, &net.DNSError{Name: name, IsNotFound: true}
	case srvs == nil:
		return "", nil, errBroken
	}
	return name, srvs, nil
}

func (n names) LookupNetIP(_ context.Context, _, host string) (addrs []netip.Addr, err error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	known := n.local
	name, whole := strings.CutSuffix(host, ".")
	if whole {
		known = n.hosts
	}
	for _, text := range known[name] {
		if text == "broken" {
			return nil, errBroken
		}
		addrs = append(addrs, netip.MustParseAddr(text))
	}
	if addrs == nil {
		return nil, &net.DNSError{Name: host, IsNotFound: true}
	}
	return addrs, nil
}

func TestLookup(t *testing.T) {
	srv := func(host string, port, priority, weight uint16) *net.SRV {
		return &net.SRV{Target: host, Port: port, Priority: priority, Weight: weight}
	}
	for name, test := range map[string]struct {
		direct, starttls []*net.SRV // none is not found, nil is broken
		want             []endpoint
		err              error
	}{
		"nothing": {none, none, []endpoint{{host: "example.org", port: 5222, tls: startTLS}}, nil},
		"starttls": {none, []*net.SRV{srv("b.example.", 5223, 20, 0), srv("a.example.", 5222, 10, 0)},
			[]endpoint{{host: "a.example", port: 5222, tls: startTLS}, {host: "b.example", port: 5223, tls: startTLS}}, nil},
		"both, mixed": {[]*net.SRV{srv("x.example.", 443, 5, 0), srv("z.example.", 443, 15, 0)}, []*net.SRV{srv("y.example.", 5222, 10, 0)},
			[]endpoint{{host: "x.example", port: 443, tls: directTLS}, {host: "y.example", port: 5222, tls: startTLS}, {host: "z.example", port: 443, tls: directTLS}}, nil},
		"not at all":  {none, []*net.SRV{srv(".", 0, 0, 0)}, nil, errNoService},
		"direct only": {[]*net.SRV{srv("x.example.", 443, 5, 0)}, []*net.SRV{srv(".", 0, 0, 0)}, []endpoint{{host: "x.example", port: 443, tls: directTLS}}, nil},
		"broken":      {nil, none, nil, errBroken},
		"broken too":  {none, nil, nil, errBroken},
		"half broken": {nil, []*net.SRV{srv("a.example.", 5222, 10, 0)}, []endpoint{{host: "a.example", port: 5222, tls: startTLS}}, nil},
	} {
		n := names{srv: map[string][]*net.SRV{}}
		if len(test.direct) > 0 || test.direct == nil {
			n.srv[serviceDirect+".example.org"] = test.direct
		}
		if len(test.starttls) > 0 || test.starttls == nil {
			n.srv[serviceSTARTTLS+".example.org"] = test.starttls
		}
		got, err := lookup(t.Context(), n, "example.org")
		require.ErrorIs(t, err, test.err, name)
		assert.Equal(t, test.want, got, name)
	}
}

var none = []*net.SRV{}

func TestOrder(t *testing.T) {
	rec := func(host string, priority, weight uint16) record {
		return record{endpoint{host: host}, priority, weight}
	}
	hosts := func(intN func(int) int, records ...record) (s string) {
		for _, r := range order(records, intN) {
			s += r.host
		}
		return s
	}
	low := func(int) int { return 0 }
	high := func(n int) int { return n - 1 }
	assert.Equal(t, "cab", hosts(low, rec("a", 2, 1), rec("b", 2, 1), rec("c", 1, 1)))
	assert.Equal(t, "cba", hosts(high, rec("a", 2, 1), rec("b", 2, 1), rec("c", 1, 1)))
	// The draw is among the sum of the weights, those left at each turn.
	var asked []int
	assert.Equal(t, "bca", hosts(func(n int) int {
		asked = append(asked, n)
		return min(2, n-1)
	}, rec("a", 1, 0), rec("b", 1, 10), rec("c", 1, 5)))
	assert.Equal(t, []int{16, 6}, asked)
	assert.Equal(t, "", hosts(low))
}
