package bosh_test

import (
	"strings"
	"testing"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
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
