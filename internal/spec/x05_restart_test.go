package spec_test

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
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
)

// XEP-0206, section 5: authentication and restart.
func TestXMPPRestart(t *testing.T) {
	again := opened("to='example.com' version='1.0'")

	xmpp(t, "X5-2 X5-3 a new header, and new features", func(b *Harness, s *Session) {
		s.Send(1001, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
		s.App.Text()
		s.App.Writes("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
		c := s.Send(1002, Restart, "to='example.com'")
		s.App.Reads(again)
		s.App.Writes(ServerHeader + BindFeatures)
		c.GetsNow(carrying(BindFeatures))
		assert.Same(b, s.App, b.App(-1), "another stream")
		s.Alive()
	})

	authenticated(t, "X5-3 a poll that is held does not get them", func(b *Harness, s *Session) {
		poll := s.Send(1001)
		c := s.Send(1002, Restart)
		poll.GetsNow(Empty)
		s.App.Writes(ServerHeader + BindFeatures)
		c.GetsNow(carrying(BindFeatures))
	})

	authenticated(t, "X5-4 it is held for the features", func(b *Harness, s *Session) {
		c := s.Send(1001, Restart)
		b.Wait(2 * time.Second)
		c.Waits()
		s.App.Writes(ServerHeader + BindFeatures)
		c.GetsNow(carrying(BindFeatures))
	})

	authenticated(t, "X5-4 but not beyond W", func(b *Harness, s *Session) {
		s.Send(1001, Restart).GetsAfter(Patience, Empty)
		next := s.Send(1002)
		s.App.Writes(ServerHeader + BindFeatures)
		next.GetsNow(carrying(BindFeatures))
	})

	authenticated(t, "X5-5 payloads in it are ignored", func(b *Harness, s *Session) {
		s.Send(1001, Restart, "<iq type='get' id='lost'/>")
		s.App.Reads(again)
	})

	authenticated(t, "X5-6 to and xml:lang of the restart", func(b *Harness, s *Session) {
		b.Post(Complete("<body rid='2000' " + xmppAttrs + "/>"))
		other := b.App(1)
		s.Send(1001, Restart, "to='example.org' xml:lang='fr'")
		s.App.Reads(opened("to='example.org' version='1.0' xml:lang='fr'"))
		assert.Equal(b, "example.org", s.App.Opening().To)
		assert.Equal(b, "example.com", other.Opening().To, "of another session that was opened alike")
	})

	xmppSays(t, "X5-6 or of the creation", xmppOptions, xmppAttrs+" xml:lang='de'", ServerHeader+Features+Success, func(b *Harness, s *Session) {
		s.Send(1001, Restart)
		s.App.Reads(opened("to='example.com' version='1.0' xml:lang='de'"))
	})

	authenticated(t, "X5-6 nor has its host a dot at the end", func(b *Harness, s *Session) {
		s.Send(1001, Restart, "to='example.org.'")
		s.App.Reads(opened("to='example.org' version='1.0'"))
		assert.Equal(b, "example.org", s.App.Opening().To)
	})
	authenticated(t, "X5-7 from is a claim", func(b *Harness, s *Session) {
		s.Send(1001, Restart, "from='a@example.com'")
		s.App.Reads(opened("to='example.com' from='a@example.com' version='1.0'"))
		assert.Equal(b, "a@example.com", s.App.Opening().From)
	})

	t.Run("X5-8 booleans", func(t *testing.T) {
		for value, want := range map[string]string{"true": again, "1": again, "false": "", "0": ""} {
			authenticated(t, value, func(b *Harness, s *Session) {
				s.Send(1001, "xmpp:restart='"+value+"' "+XmppNS).Waits()
				s.App.Reads(want)
			})
		}
		xmpp(t, "a false one is an ordinary request", func(b *Harness, s *Session) {
			s.Send(1001, "xmpp:restart='false' "+XmppNS, "<presence/>")
			s.App.Reads("<presence xmlns='jabber:client'/>")
		})
		for _, value := range []string{"", "yes", "TRUE", "2"} {
			xmpp(t, "none: "+value, func(b *Harness, s *Session) {
				s.Send(1001, "xmpp:restart='"+value+"' "+XmppNS).GetsNow(Condition(bosh.BadRequest))
				s.App.Reads("")
			})
		}
	})

	authenticated(t, "X5-9 any prefix", func(b *Harness, s *Session) {
		s.Send(1001, "x:restart='true' xmlns:x='urn:xmpp:xbosh'")
		s.App.Reads(again)
	})
	authenticated(t, "X5-9 the usual one undeclared", func(b *Harness, s *Session) {
		s.Send(1001, "xmpp:restart='true'")
		s.App.Reads(again)
	})
	for _, ns := range []string{"urn:ietf:params:xml:ns:xmpp-bind", "urn:other", boshtest.NSBind} {
		authenticated(t, "X5-14 the usual one whatever it is bound to: "+ns, func(b *Harness, s *Session) {
			s.Send(1001, "xmpp:restart='true' xmlns:xmpp='"+ns+"'")
			s.App.Reads(again)
		})
	}
	authenticated(t, "X5-14 what is in the namespace counts for more", func(b *Harness, s *Session) {
		s.Send(1001, "xmpp:restart='true' xmlns:xmpp='urn:other' x:restart='false' xmlns:x='urn:xmpp:xbosh'")
		s.App.Reads("")
		s.Send(1002, "x:restart='true' xmlns:x='urn:xmpp:xbosh' xmpp:restart='false' xmlns:xmpp='urn:other'")
		s.App.Reads(again)
	})
	authenticated(t, "X5-14 another prefix for something else", func(b *Harness, s *Session) {
		s.Send(1001, "x:restart='true' xmlns:x='urn:other'")
		s.App.Reads("")
	})

	t.Run("X5-13 a restart that nothing calls for is an empty request", func(t *testing.T) {
		xmpp(t, "before authentication", func(b *Harness, s *Session) {
			poll := s.Send(1001, Restart, "to='example.org'", "<iq type='get' id='lost'/>")
			poll.Waits()
			s.App.Reads("")
			assert.Equal(b, "example.com", s.App.Opening().To)
			auth := s.Send(1002, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
			poll.GetsNow(Empty)
			s.App.Reads("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
			s.App.Writes(Success)
			auth.GetsNow(carrying(Success))
			c := s.Send(1003, Restart)
			s.App.Reads(again)
			s.App.Writes(ServerHeader + BindFeatures)
			c.GetsNow(carrying(BindFeatures))
		})
		xmpp(t, "and takes the answer to the next one", func(b *Harness, s *Session) {
			poll := s.Send(1001, Restart)
			s.App.Writes(Success)
			poll.GetsNow(carrying(Success))
			s.Send(1002, Restart)
			s.App.Reads(again)
		})
		xmpp(t, "and is held as long as any other", func(b *Harness, s *Session) {
			s.Send(1001, Restart).GetsAfter(Patience, Empty)
			s.Alive()
		})
		Bubble(t, "before the server's header", xmppOptions, func(b *Harness) {
			s := &Session{B: b, Creator: b.Post(Complete("<body rid='1000' " + strings.Replace(xmppAttrs, "wait='60'", "wait='20'", 1) + "/>"))}
			s.App = b.App(0)
			s.App.Reads(opened("to='example.com' version='1.0'"))
			b.Wait(10 * time.Second)
			s.Sid = s.Creator.Body().Attr("sid")
			c := s.Send(1001, Restart)
			s.App.Reads("")
			s.App.Writes(ServerHeader + Features)
			assert.Equal(b, []string{Features}, texts(c.Body().Payloads))
		})
		authenticated(t, "when the server has not answered the last one yet", func(b *Harness, s *Session) {
			s.Send(1001, Restart)
			s.App.Reads(again)
			s.Send(1002, Restart)
			s.App.Reads("")
		})
		authenticated(t, "when the server has said its header since", func(b *Harness, s *Session) {
			s.App.Writes(ServerHeader + BindFeatures)
			s.Send(1001, Restart).GetsNow(carrying(BindFeatures))
			s.App.Reads("")
		})
		for name, call := range map[string]string{
			"SASL": Success, "SASL with data": "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>dj1y</success>",
			"SASL by a prefix": "<a:success xmlns:a='urn:ietf:params:xml:ns:xmpp-sasl'/>",
			"SASL2":            "<success xmlns='urn:xmpp:sasl:2'><authorization-identifier>a@b</authorization-identifier></success>",
			"TLS":              "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
			"compression":      "<compressed xmlns='http://jabber.org/protocol/compress'/>",
		} {
			xmpp(t, "called for by "+name, func(b *Harness, s *Session) {
				for i := range call { // in any chunks
					s.App.Writes(call[i : i+1])
				}
				s.Send(1001)
				s.Send(1002, Restart)
				s.App.Reads(again)
			})
			xmpp(t, "called for among others by "+name, func(b *Harness, s *Session) {
				s.App.Writes(msg("a") + call + msg("b"))
				s.Send(1001)
				s.Send(1002, Restart)
				s.App.Reads(again)
			})
		}
		for _, other := range []string{
			"<success xmlns='u'/>", "<success/>", "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
			"<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>", "<message>" + Success + "</message>",
			"<continue xmlns='urn:xmpp:sasl:2'/>", "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
		} {
			xmpp(t, "not called for by "+other, func(b *Harness, s *Session) {
				s.App.Writes(other)
				s.Send(1001)
				s.Send(1002, Restart).Waits()
				s.App.Reads("")
			})
		}
		xmpp(t, "which is excused from the rules on frequency once", func(b *Harness, s *Session) {
			s.Send(1001)
			s.Send(1002, Restart).Waits()
			s.Send(1003, Restart).GetsNow(Condition(bosh.PolicyViolation))
		})
	})

	authenticated(t, "X5-10 the session survives it", func(b *Harness, s *Session) {
		s.App.Writes(msg("queued"))
		c := s.Send(1001, Restart)
		c.GetsNow(carrying(said("queued")))
		s.App.Reads(again)
		next := s.Send(1002)
		s.App.Writes(ServerHeader + BindFeatures)
		next.GetsNow(carrying(BindFeatures))
		s.Send(1001, Restart).GetsNow(carrying(said("queued")))
		s.Send(1002).GetsNow(carrying(BindFeatures))
		s.App.Reads("")
		s.Send(1003, "<presence/>")
		s.App.Reads("<presence xmlns='jabber:client'/>")
	})

	authenticated(t, "X5-10 a repeat of the restart", func(b *Harness, s *Session) {
		first := s.Send(1001, Restart)
		first.Breaks()
		repeat := s.Send(1001, Restart)
		s.App.Reads(again)
		s.App.Writes(ServerHeader + BindFeatures)
		repeat.GetsNow(carrying(BindFeatures))
		s.Send(1001, Restart).GetsNow(carrying(BindFeatures))
		s.App.Reads("")
	})

	many := With(func(o *bosh.Options) { o.Framing, o.MaxStreams = bosh.XMPP, 2 })
	xmppWith(t, "X5-2 of several streams the one that is named", many, xmppAttrs, func(b *Harness, s *Session) {
		c := s.Send(1001, "to='example.net' xmpp:version='1.0' "+XmppNS)
		two := b.App(1)
		two.Writes(ServerHeader + Features + Success)
		c.Body()
		two.Text()
		s.Send(1002, Restart) // of the first one, which nothing calls for
		s.App.Reads("")
		two.Reads("")
		c = s.Send(1003, Restart, stream(two))
		s.App.Reads("")
		two.Reads(opened("to='example.net' version='1.0'"))
		two.Writes(ServerHeader + BindFeatures)
		c.GetsNow("<body " + stream(two) + " " + StreamNS + ">" + BindFeatures + "</body>")
	})

	t.Run("X5-11 the application sees the certificate and the HTTP credentials", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := NewHandler(t, With(func(o *bosh.Options) { o.Framing, o.CreateTimeout = bosh.XMPP, -1 }))
			state := Certified("A")
			p := Dial(t, Over(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.SetBasicAuth("a", "secret")
				h.ServeHTTP(w, r)
			}), state), "from='a@example.com'")
			s := Accept(t, h)
			assert.Equal(t, state, s.Session().TLS())
			user, _, ok := s.Session().Request().BasicAuth()
			assert.True(t, ok)
			assert.Equal(t, "a", user)
			assert.NotEmpty(t, p.Sid)
		})
	})

	t.Run("X5-12 a claim that the certificate does not bear out can be refused", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			owners := map[string]string{"A": "a@example.com"}
			h := NewHandler(t, With(func(o *bosh.Options) {
				o.Admit = func(ctx context.Context, r *http.Request, o *bosh.Opening) (context.Context, error) {
					if r.TLS == nil || owners[string(r.TLS.PeerCertificates[0].Raw)] != o.From {
						return nil, &bosh.Error{Condition: bosh.PolicyViolation, Err: errors.New("not you")}
					}
					return ctx, nil
				}
			}))
			Dial(t, Over(h, Certified("A")), "from='a@example.com'")
			RequireEnd(t, boshtest.Exchange(t, Over(h, Certified("A")), Creation("from='b@example.com'")), bosh.PolicyViolation)
			RequireEnd(t, boshtest.Exchange(t, Over(h, nil), Creation("from='a@example.com'")), bosh.PolicyViolation)
		})
	})
}

// XEP-0206, section 6: stream errors.
func TestXMPPStreamErrors(t *testing.T) {
	streamError := "<stream:error><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>" +
		"<text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>so &amp; so</text><own xmlns='urn:example'/></stream:error>"

	xmpp(t, "X6-1 the stanzas that are queued, and then the whole element", func(b *Harness, s *Session) {
		s.App.Writes(msg("1") + msg("2") + streamError + "</stream:stream>")
		s.Send(1001).GetsNow(RemoteStreamError(said("1"), said("2"), streamError))
		assert.Equal(b, io.EOF, s.App.Ended())
	})

	many := With(func(o *bosh.Options) { o.Framing, o.Hold = bosh.XMPP, 2 })
	xmppWith(t, "X6-2 to the oldest that is held", many, strings.Replace(xmppAttrs, "hold='1'", "hold='2'", 1), func(b *Harness, s *Session) {
		calls := []*Call{s.Send(1001), s.Send(1002)}
		s.App.Writes(streamError)
		calls[0].GetsNow(RemoteStreamError(streamError))
		calls[1].GetsNow(End)
		InOrder(b, calls)
		s.Gone()
	})

	xmpp(t, "X6-2 or to the next", func(b *Harness, s *Session) {
		s.App.Writes(streamError)
		b.Wait(29 * time.Second)
		s.Send(1001).GetsNow(RemoteStreamError(streamError))
		s.Send(1002).GetsNow(RemoteStreamError(streamError))
	})

	xmpp(t, "X6-3 a clean end has no condition", func(b *Harness, s *Session) {
		held := s.Send(1001)
		s.App.Writes("</stream:stream>")
		held.GetsNow(End)
		assert.Equal(b, io.EOF, s.App.Ended())
	})
}

// XEP-0206, section 7: undeliverable stanzas.
func TestXMPPUndeliverable(t *testing.T) {
	xmpp(t, "X7-1 they are given back in order", func(b *Harness, s *Session) {
		for _, stanza := range []string{"1", "2", "3"} {
			s.App.Writes("<message from='b@example.org' to='a@example.com' id='" + stanza + "'/>")
		}
		b.Wait(30*time.Second + Overtime)
		var want []string
		for _, stanza := range []string{"1", "2", "3"} {
			want = append(want, "<message xmlns='jabber:client' from='b@example.org' to='a@example.com' id='"+stanza+"'/>")
		}
		assert.Equal(b, want, s.App.Lost())
	})

	xmpp(t, "X7-1 B10-14 also those that were sent in vain", func(b *Harness, s *Session) {
		s.App.Writes(msg("1"))
		s.Send(1001).GetsNow(carrying(said("1")))
		s.App.Writes(msg("2"))
		b.Wait(30*time.Second + Overtime)
		assert.Equal(b, []string{said("1") + "*", said("2")}, s.App.Lost())
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
