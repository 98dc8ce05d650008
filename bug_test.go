package bosh_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What once went wrong.

// What payloads take from the wrapper is what is in force there, and cannot be
// made a multiple of the request.
func TestBugDeclarations(t *testing.T) {
	std(t, "the default namespace of a wrapper with a prefix", func(b *bench, s *session) {
		start := "<b:body xmlns:b='" + boshtest.NSBind + "' sid='" + s.sid + "' rid="
		b.post(start + "'1001' xmlns='urn:x'><a/></b:body>")
		s.app.reads("<a xmlns='urn:x'/>")
		b.post(start + "'1002'><a/></b:body>")
		s.app.reads("<a xmlns=''/>")
		b.post(start + "'1003' xmlns='" + boshtest.NSBind + "'><a/></b:body>")
		s.app.reads("<a xmlns='" + boshtest.NSBind + "'/>")
	})
	xmpp := with(func(o *bosh.Options) { o.Framing, o.CreateTimeout = bosh.XMPP, -1 })
	custom(t, "in XMPP", xmpp, stdAttrs, func(b *bench, s *session) {
		s.app.read()
		b.post("<b:body xmlns:b='" + boshtest.NSBind + "' sid='" + s.sid + "' rid='1001' xmlns='urn:x'><message/></b:body>")
		s.app.reads("<message xmlns='urn:x'/>")
	})
	for _, prefix := range []string{"p", ""} {
		std(t, "many times a long one", func(b *bench, s *session) {
			decl, name := " xmlns='", "<a/>"
			if prefix != "" {
				decl, name = " xmlns:p='", "<p:a/>"
			}
			b.post("<b:body xmlns:b='" + boshtest.NSBind + "' sid='" + s.sid + "' rid='1001'" +
				decl + strings.Repeat("u", 100<<10) + "'>" + strings.Repeat(name, 1000) + "</b:body>").
				getsNow(condition(bosh.BadRequest))
			s.app.reads("")
		})
	}
}

// Whatever keeps the answers coming, unread input has a limit.
func TestBugFlood(t *testing.T) {
	const body = 1 << 16
	for name, flood := range map[string]struct {
		framing bosh.Framing
		parts   []string
		writes  bool // the application does, to no end
	}{
		"by pauses":                     {bosh.Elements, []string{"pause='1'", x(strings.Repeat("x", body/2))}, false},
		"by restarts":                   {bosh.XMPP, []string{"xmpp:restart='true'", "to='" + strings.Repeat("x", body/2) + "'"}, false},
		"of an application that writes": {bosh.Elements, []string{x(strings.Repeat("x", body/2))}, true},
	} {
		o := with(func(o *bosh.Options) {
			o.Framing, o.MaxBody, o.CreateTimeout = flood.framing, body, -1
			o.Serve = func(st *bosh.Stream) { <-st.Context().Done() }
		})
		bubble(t, name, o, func(b *bench) {
			s := &session{b: b, sid: b.post(complete(stdCreation)).body().Attr("sid")}
			var peak int
			var last *call
			for rid := range int64(100) {
				for live := range b.h.Sessions() {
					peak = max(peak, live.Stats().Unread)
					if flood.writes {
						require.NoError(b, live.Streams()[0].WriteElement(b.Context(), []byte(x("y"))))
					}
				}
				if peak > 10*body {
					break
				}
				last = s.send(1001+rid, flood.parts...)
			}
			assert.Less(b, peak, 10*body)
			last.gets(condition(bosh.ItemNotFound))
			assert.Equal(b, int64(1), b.h.Stats().Ended[string(bosh.PolicyViolation)])
		})
	}
}

// What is kept of a client that acknowledges includes its keys.
func TestBugLongKeys(t *testing.T) {
	seed := strings.Repeat("k", 1<<16)
	newkey := keySequence(seed, 1)[1]
	custom(t, "kept", stdOptions, stdAttrs+" ack='1' newkey='"+newkey+"'", func(b *bench, s *session) {
		var first string
		for rid := range int64(20) {
			body := s.text(fmt.Sprint(1001+rid), "ack='1000'", "key='"+seed+"'", "newkey='"+newkey+"'")
			if rid == 0 {
				first = body
			}
			c := b.post(body)
			s.app.writes(x(""))
			c.gets(answer(x("")))
		}
		repeat := b.post(first)
		b.wait(time.Second)
		repeat.gets(condition(bosh.ItemNotFound))
	})
}
