package bosh_test

import (
	"context"
	"net"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/gobosh/bosh"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// stdCreation is the request that creates std's session.
const stdCreation = "<body rid='1000' " + stdAttrs + "/>"

// How many sessions there may be, and how much a request may carry.
func TestLimits(t *testing.T) {
	bubble(t, "sessions in all", with(func(o *bosh.Options) { o.MaxSessions = 2 }), func(b *bench) {
		first := b.create()
		b.create()
		b.post(complete(stdCreation)).getsNow(condition(bosh.PolicyViolation))
		first.send(1001, "type='terminate'").getsNow(end)
		b.create()
	})

	host := "192.0.2.1"
	perAddr := with(func(o *bosh.Options) {
		o.MaxPerAddr = 1
		o.ClientAddr = func(*http.Request) net.Addr { return &net.TCPAddr{IP: net.ParseIP(host), Port: 99} }
	})
	bubble(t, "sessions of one address", perAddr, func(b *bench) {
		b.create()
		b.post(complete(stdCreation)).getsNow(condition(bosh.PolicyViolation))
		host = "192.0.2.2"
		b.create()
	})

	refusing := with(func(o *bosh.Options) {
		o.MaxSessions = 1
		o.Admit = func(ctx context.Context, _ *http.Request, op *bosh.Opening) (context.Context, error) {
			if op.To == "bad" {
				return nil, &bosh.Error{Condition: bosh.HostUnknown}
			}
			return ctx, nil
		}
	})
	bubble(t, "a session that is refused takes no place", refusing, func(b *bench) {
		b.post(complete("<body rid='1' to='bad' ver='1.11'/>")).getsNow(condition(bosh.HostUnknown))
		b.create()
	})

	std(t, "elements of a request", func(b *bench, s *session) {
		held := s.send(1001, strings.Repeat("<a/>", 4096))
		held.waits()
		over := s.send(1002, strings.Repeat("<a/>", 4097))
		held.getsNow(condition(bosh.OtherRequest))
		over.getsNow(condition(bosh.BadRequest))
	})
}

// SECURITY.md has every limit.
func TestEveryLimit(t *testing.T) {
	doc, err := os.ReadFile("SECURITY.md")
	require.NoError(t, err)
	options := reflect.TypeFor[bosh.Options]()
	for i := range options.NumField() {
		name, kind := options.Field(i).Name, options.Field(i).Type
		switch {
		case name == "Framing" || name == "Grace" || name == "ReportAfter" || name == "Compress": // bound nothing of a client's
		case kind.Kind() == reflect.Int, kind.Kind() == reflect.Int64:
			assert.Regexp(t, "\n\\|[^|]*`"+name+"`[^|]*\\|", string(doc))
		}
	}
}
