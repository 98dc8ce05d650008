package bosh_test

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	"github.com/stretchr/testify/assert"
)

const (
	restart      = "xmpp:restart='true' " + xmppNS
	bindFeatures = "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>"
)

// XEP-0206, section 5: authentication and restart.
func TestXMPPRestart(t *testing.T) {
	again := opened("to='example.com' version='1.0'")

	xmpp(t, "X5-2 X5-3 a new header, and new features", func(b *bench, s *session) {
		s.send(1001, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
		s.app.read()
		s.app.writes("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
		c := s.send(1002, restart, "to='example.com'")
		s.app.reads(again)
		s.app.writes(serverHeader + bindFeatures)
		c.getsNow(carrying(bindFeatures))
		assert.Same(b, s.app, b.app(-1), "another stream")
		s.alive()
	})

	authenticated(t, "X5-3 a poll that is held does not get them", func(b *bench, s *session) {
		poll := s.send(1001)
		c := s.send(1002, restart)
		poll.getsNow(empty)
		s.app.writes(serverHeader + bindFeatures)
		c.getsNow(carrying(bindFeatures))
	})

	authenticated(t, "X5-4 it is held for the features", func(b *bench, s *session) {
		c := s.send(1001, restart)
		b.wait(2 * time.Second)
		c.waits()
		s.app.writes(serverHeader + bindFeatures)
		c.getsNow(carrying(bindFeatures))
	})

	authenticated(t, "X5-4 but not beyond W", func(b *bench, s *session) {
		s.send(1001, restart).getsAfter(patience, empty)
		next := s.send(1002)
		s.app.writes(serverHeader + bindFeatures)
		next.getsNow(carrying(bindFeatures))
	})

	authenticated(t, "X5-5 payloads in it are ignored", func(b *bench, s *session) {
		s.send(1001, restart, "<iq type='get' id='lost'/>")
		s.app.reads(again)
	})

	authenticated(t, "X5-6 to and xml:lang of the restart", func(b *bench, s *session) {
		b.post(complete("<body rid='2000' " + xmppAttrs + "/>"))
		other := b.app(1)
		s.send(1001, restart, "to='example.org' xml:lang='fr'")
		s.app.reads(opened("to='example.org' version='1.0' xml:lang='fr'"))
		assert.Equal(b, "example.org", s.app.Opening().To)
		assert.Equal(b, "example.com", other.Opening().To, "of another session that was opened alike")
	})

	xmppSays(t, "X5-6 or of the creation", xmppOptions, xmppAttrs+" xml:lang='de'", serverHeader+features+success, func(b *bench, s *session) {
		s.send(1001, restart)
		s.app.reads(opened("to='example.com' version='1.0' xml:lang='de'"))
	})

	authenticated(t, "X5-6 nor has its host a dot at the end", func(b *bench, s *session) {
		s.send(1001, restart, "to='example.org.'")
		s.app.reads(opened("to='example.org' version='1.0'"))
		assert.Equal(b, "example.org", s.app.Opening().To)
	})
	authenticated(t, "X5-7 from is a claim", func(b *bench, s *session) {
		s.send(1001, restart, "from='a@example.com'")
		s.app.reads(opened("to='example.com' from='a@example.com' version='1.0'"))
		assert.Equal(b, "a@example.com", s.app.Opening().From)
	})

	t.Run("X5-8 booleans", func(t *testing.T) {
		for value, want := range map[string]string{"true": again, "1": again, "false": "", "0": ""} {
			authenticated(t, value, func(b *bench, s *session) {
				s.send(1001, "xmpp:restart='"+value+"' "+xmppNS).waits()
				s.app.reads(want)
			})
		}
		xmpp(t, "a false one is an ordinary request", func(b *bench, s *session) {
			s.send(1001, "xmpp:restart='false' "+xmppNS, "<presence/>")
			s.app.reads("<presence xmlns='jabber:client'/>")
		})
		for _, value := range []string{"", "yes", "TRUE", "2"} {
			xmpp(t, "none: "+value, func(b *bench, s *session) {
				s.send(1001, "xmpp:restart='"+value+"' "+xmppNS).getsNow(condition(bosh.BadRequest))
				s.app.reads("")
			})
		}
	})

	authenticated(t, "X5-9 any prefix", func(b *bench, s *session) {
		s.send(1001, "x:restart='true' xmlns:x='urn:xmpp:xbosh'")
		s.app.reads(again)
	})
	authenticated(t, "X5-9 the usual one undeclared", func(b *bench, s *session) {
		s.send(1001, "xmpp:restart='true'")
		s.app.reads(again)
	})
	for _, ns := range []string{"urn:ietf:params:xml:ns:xmpp-bind", "urn:other", boshtest.NSBind} {
		authenticated(t, "X5-14 the usual one whatever it is bound to: "+ns, func(b *bench, s *session) {
			s.send(1001, "xmpp:restart='true' xmlns:xmpp='"+ns+"'")
			s.app.reads(again)
		})
	}
	authenticated(t, "X5-14 what is in the namespace counts for more", func(b *bench, s *session) {
		s.send(1001, "xmpp:restart='true' xmlns:xmpp='urn:other' x:restart='false' xmlns:x='urn:xmpp:xbosh'")
		s.app.reads("")
		s.send(1002, "x:restart='true' xmlns:x='urn:xmpp:xbosh' xmpp:restart='false' xmlns:xmpp='urn:other'")
		s.app.reads(again)
	})
	authenticated(t, "X5-14 another prefix for something else", func(b *bench, s *session) {
		s.send(1001, "x:restart='true' xmlns:x='urn:other'")
		s.app.reads("")
	})

	t.Run("X5-13 a restart that nothing calls for is an empty request", func(t *testing.T) {
		xmpp(t, "before authentication", func(b *bench, s *session) {
			poll := s.send(1001, restart, "to='example.org'", "<iq type='get' id='lost'/>")
			poll.waits()
			s.app.reads("")
			assert.Equal(b, "example.com", s.app.Opening().To)
			auth := s.send(1002, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
			poll.getsNow(empty)
			s.app.reads("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
			s.app.writes(success)
			auth.getsNow(carrying(success))
			c := s.send(1003, restart)
			s.app.reads(again)
			s.app.writes(serverHeader + bindFeatures)
			c.getsNow(carrying(bindFeatures))
		})
		xmpp(t, "and takes the answer to the next one", func(b *bench, s *session) {
			poll := s.send(1001, restart)
			s.app.writes(success)
			poll.getsNow(carrying(success))
			s.send(1002, restart)
			s.app.reads(again)
		})
		xmpp(t, "and is held as long as any other", func(b *bench, s *session) {
			s.send(1001, restart).getsAfter(patience, empty)
			s.alive()
		})
		bubble(t, "before the server's header", xmppOptions, func(b *bench) {
			s := &session{b: b, creator: b.post(complete("<body rid='1000' " + strings.Replace(xmppAttrs, "wait='60'", "wait='20'", 1) + "/>"))}
			s.app = b.app(0)
			s.app.reads(opened("to='example.com' version='1.0'"))
			b.wait(10 * time.Second)
			s.sid = s.creator.body().Attr("sid")
			c := s.send(1001, restart)
			s.app.reads("")
			s.app.writes(serverHeader + features)
			assert.Equal(b, []string{features}, texts(c.body().Payloads))
		})
		authenticated(t, "when the server has not answered the last one yet", func(b *bench, s *session) {
			s.send(1001, restart)
			s.app.reads(again)
			s.send(1002, restart)
			s.app.reads("")
		})
		authenticated(t, "when the server has said its header since", func(b *bench, s *session) {
			s.app.writes(serverHeader + bindFeatures)
			s.send(1001, restart).getsNow(carrying(bindFeatures))
			s.app.reads("")
		})
		for name, call := range map[string]string{
			"SASL": success, "SASL with data": "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>dj1y</success>",
			"SASL by a prefix": "<a:success xmlns:a='urn:ietf:params:xml:ns:xmpp-sasl'/>",
			"SASL2":            "<success xmlns='urn:xmpp:sasl:2'><authorization-identifier>a@b</authorization-identifier></success>",
			"TLS":              "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
			"compression":      "<compressed xmlns='http://jabber.org/protocol/compress'/>",
		} {
			xmpp(t, "called for by "+name, func(b *bench, s *session) {
				for i := range call { // in any chunks
					s.app.writes(call[i : i+1])
				}
				s.send(1001)
				s.send(1002, restart)
				s.app.reads(again)
			})
			xmpp(t, "called for among others by "+name, func(b *bench, s *session) {
				s.app.writes(msg("a") + call + msg("b"))
				s.send(1001)
				s.send(1002, restart)
				s.app.reads(again)
			})
		}
		for _, other := range []string{
			"<success xmlns='u'/>", "<success/>", "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
			"<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>", "<message>" + success + "</message>",
			"<continue xmlns='urn:xmpp:sasl:2'/>", "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
		} {
			xmpp(t, "not called for by "+other, func(b *bench, s *session) {
				s.app.writes(other)
				s.send(1001)
				s.send(1002, restart).waits()
				s.app.reads("")
			})
		}
		xmpp(t, "which is excused from the rules on frequency once", func(b *bench, s *session) {
			s.send(1001)
			s.send(1002, restart).waits()
			s.send(1003, restart).getsNow(condition(bosh.PolicyViolation))
		})
	})

	authenticated(t, "X5-10 the session survives it", func(b *bench, s *session) {
		s.app.writes(msg("queued"))
		c := s.send(1001, restart)
		c.getsNow(carrying(said("queued")))
		s.app.reads(again)
		next := s.send(1002)
		s.app.writes(serverHeader + bindFeatures)
		next.getsNow(carrying(bindFeatures))
		s.send(1001, restart).getsNow(carrying(said("queued")))
		s.send(1002).getsNow(carrying(bindFeatures))
		s.app.reads("")
		s.send(1003, "<presence/>")
		s.app.reads("<presence xmlns='jabber:client'/>")
	})

	authenticated(t, "X5-10 a repeat of the restart", func(b *bench, s *session) {
		first := s.send(1001, restart)
		first.breaks()
		repeat := s.send(1001, restart)
		s.app.reads(again)
		s.app.writes(serverHeader + bindFeatures)
		repeat.getsNow(carrying(bindFeatures))
		s.send(1001, restart).getsNow(carrying(bindFeatures))
		s.app.reads("")
	})

	many := with(func(o *bosh.Options) { o.Framing, o.MaxStreams = bosh.XMPP, 2 })
	xmppWith(t, "X5-2 of several streams the one that is named", many, xmppAttrs, func(b *bench, s *session) {
		c := s.send(1001, "to='example.net' xmpp:version='1.0' "+xmppNS)
		two := b.app(1)
		two.writes(serverHeader + features + success)
		c.body()
		two.read()
		s.send(1002, restart) // of the first one, which nothing calls for
		s.app.reads("")
		two.reads("")
		c = s.send(1003, restart, stream(two))
		s.app.reads("")
		two.reads(opened("to='example.net' version='1.0'"))
		two.writes(serverHeader + bindFeatures)
		c.getsNow("<body " + stream(two) + " " + streamNS + ">" + bindFeatures + "</body>")
	})

	t.Run("X5-11 the application sees the certificate and the HTTP credentials", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newHandler(t, with(func(o *bosh.Options) { o.Framing, o.CreateTimeout = bosh.XMPP, -1 }))
			state := certified("A")
			p := dial(t, over(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.SetBasicAuth("a", "secret")
				h.ServeHTTP(w, r)
			}), state), "from='a@example.com'")
			s := accept(t, h)
			assert.Equal(t, state, s.Session().TLS())
			user, _, ok := s.Session().Request().BasicAuth()
			assert.True(t, ok)
			assert.Equal(t, "a", user)
			assert.NotEmpty(t, p.sid)
		})
	})

	t.Run("X5-12 a claim that the certificate does not bear out can be refused", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			owners := map[string]string{"A": "a@example.com"}
			h := newHandler(t, with(func(o *bosh.Options) {
				o.Admit = func(ctx context.Context, r *http.Request, o *bosh.Opening) (context.Context, error) {
					if r.TLS == nil || owners[string(r.TLS.PeerCertificates[0].Raw)] != o.From {
						return nil, &bosh.Error{Condition: bosh.PolicyViolation, Err: errors.New("not you")}
					}
					return ctx, nil
				}
			}))
			dial(t, over(h, certified("A")), "from='a@example.com'")
			requireEnd(t, boshtest.Exchange(t, over(h, certified("A")), creation("from='b@example.com'")), bosh.PolicyViolation)
			requireEnd(t, boshtest.Exchange(t, over(h, nil), creation("from='a@example.com'")), bosh.PolicyViolation)
		})
	})
}

// XEP-0206, section 6: stream errors.
func TestXMPPStreamErrors(t *testing.T) {
	streamError := "<stream:error><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>" +
		"<text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>so &amp; so</text><own xmlns='urn:example'/></stream:error>"

	xmpp(t, "X6-1 the stanzas that are queued, and then the whole element", func(b *bench, s *session) {
		s.app.writes(msg("1") + msg("2") + streamError + "</stream:stream>")
		s.send(1001).getsNow(remoteStreamError(said("1"), said("2"), streamError))
		assert.Equal(b, io.EOF, s.app.ended())
	})

	many := with(func(o *bosh.Options) { o.Framing, o.Hold = bosh.XMPP, 2 })
	xmppWith(t, "X6-2 to the oldest that is held", many, strings.Replace(xmppAttrs, "hold='1'", "hold='2'", 1), func(b *bench, s *session) {
		calls := []*call{s.send(1001), s.send(1002)}
		s.app.writes(streamError)
		calls[0].getsNow(remoteStreamError(streamError))
		calls[1].getsNow(end)
		inOrder(b, calls)
		s.gone()
	})

	xmpp(t, "X6-2 or to the next", func(b *bench, s *session) {
		s.app.writes(streamError)
		b.wait(29 * time.Second)
		s.send(1001).getsNow(remoteStreamError(streamError))
		s.send(1002).getsNow(remoteStreamError(streamError))
	})

	xmpp(t, "X6-3 a clean end has no condition", func(b *bench, s *session) {
		held := s.send(1001)
		s.app.writes("</stream:stream>")
		held.getsNow(end)
		assert.Equal(b, io.EOF, s.app.ended())
	})
}

// XEP-0206, section 7: undeliverable stanzas.
func TestXMPPUndeliverable(t *testing.T) {
	xmpp(t, "X7-1 they are given back in order", func(b *bench, s *session) {
		for _, stanza := range []string{"1", "2", "3"} {
			s.app.writes("<message from='b@example.org' to='a@example.com' id='" + stanza + "'/>")
		}
		b.wait(30*time.Second + overtime)
		var want []string
		for _, stanza := range []string{"1", "2", "3"} {
			want = append(want, "<message xmlns='jabber:client' from='b@example.org' to='a@example.com' id='"+stanza+"'/>")
		}
		assert.Equal(b, want, s.app.undelivered())
	})

	xmpp(t, "X7-1 B10-14 also those that were sent in vain", func(b *bench, s *session) {
		s.app.writes(msg("1"))
		s.send(1001).getsNow(carrying(said("1")))
		s.app.writes(msg("2"))
		b.wait(30*time.Second + overtime)
		assert.Equal(b, []string{said("1") + "*", said("2")}, s.app.undelivered())
	})
}

// A stanza, as far as a server needs it to refuse its delivery.
type stanza struct {
	XMLName            xml.Name
	From, To, ID, Type string
}

func (s *stanza) UnmarshalXML(d *xml.Decoder, start xml.StartElement) error {
	s.XMLName = start.Name
	for _, a := range start.Attr {
		switch a.Name.Local {
		case "from":
			s.From = a.Value
		case "to":
			s.To = a.Value
		case "id":
			s.ID = a.Value
		case "type":
			s.Type = a.Value
		}
	}
	return d.Skip()
}

// bounce returns the error for a stanza that could not be delivered, or
// nothing: what XEP-0206, section 7, asks of an XMPP server.
func bounce(data []byte) string {
	var s stanza
	if err := xml.Unmarshal(data, &s); err != nil || s.Type == "error" || s.Type == "result" {
		return ""
	}
	conditions := map[string]string{"iq": "service-unavailable", "message": "recipient-unavailable"}
	condition, ok := conditions[s.XMLName.Local]
	if !ok {
		return ""
	}
	return fmt.Sprintf("<%s type='error' from='%s' to='%s' id='%s'><error type='wait'><%s xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></%[1]s>",
		s.XMLName.Local, s.To, s.From, s.ID, condition)
}

// When a client is lost, the server answers for it.
func ExampleStream_Undelivered() {
	lost := make(chan string)
	h := bosh.New(bosh.Options{Serve: func(s *bosh.Stream) {
		io.WriteString(s, "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"+
			"<presence from='b@example.org' to='a@example.com'/>"+ // X7-2 is dropped
			"<iq type='get' id='1' from='b@example.org' to='a@example.com'><q xmlns='u'/></iq>"+ // X7-3
			"<iq type='result' id='2' from='b@example.org' to='a@example.com'/>"+
			"<message id='3' from='b@example.org' to='a@example.com'><body>hi</body></message>"+ // X7-4
			"<message id='4' type='error' from='b@example.org' to='a@example.com'/>")
		<-s.Context().Done()
		for p := range s.Undelivered() {
			if e := bounce(p.Data); e != "" {
				lost <- e
			}
		}
		close(lost)
	}})
	c, err := boshtest.Dial(context.Background(), boshtest.Config{To: "example.com", XMPP: true, Manual: true, Transport: boshtest.InMemory(h)})
	if err != nil {
		fmt.Println(err)
		return
	}
	c.Close()
	h.Close()
	for e := range lost {
		fmt.Println(e)
	}
	// Output:
	// <iq type='error' from='a@example.com' to='b@example.org' id='1'><error type='wait'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>
	// <message type='error' from='a@example.com' to='b@example.org' id='3'><error type='wait'><recipient-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>
}
