package spec_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// legacyAttrs are those of a client that sends no version.
const legacyAttrs = "to='example.com' hold='1' wait='60'"

// offences are what a client can do to end its session by a condition. Each
// sends rids from 1001 on and returns the call of the offending request.
var offences = map[string]struct {
	condition bosh.Condition
	status    int // for legacy clients
	commit    func(s *Session) *Call
}{
	"malformed":        {bosh.BadRequest, 400, func(s *Session) *Call { return s.Send(1001, "<a></b>") }},
	"text":             {bosh.BadRequest, 400, func(s *Session) *Call { return s.B.Post(Complete("<body rid='1001' sid='" + s.Sid + "'>text</body>")) }},
	"rid above window": {bosh.ItemNotFound, 404, func(s *Session) *Call { return s.Send(1003) }},
	"rid too old": {bosh.ItemNotFound, 404, func(s *Session) *Call {
		for rid := int64(1001); rid < 1005; rid++ {
			s.Send(rid, X("a"))
		}
		c := s.Send(1001, X("a"))
		s.B.Wait(Doubt)
		return c
	}},
	"overactive": {bosh.PolicyViolation, 403, func(s *Session) *Call {
		s.Send(1001)
		return s.Send(1002)
	}},
	"too many repeats": {bosh.PolicyViolation, 403, func(s *Session) *Call {
		var c *Call
		for range 12 {
			c = s.Send(1001)
		}
		return c
	}},
}

// XEP-0124, section 17.1: HTTP codes and legacy clients.
func TestLegacyErrors(t *testing.T) {
	t.Run("B17.1-1 with a version all errors are status 200", func(t *testing.T) {
		for name, offence := range offences {
			Std(t, name, func(b *Harness, s *Session) {
				offence.commit(s).GetsNow(Condition(offence.condition))
				s.Gone()
			})
		}
	})

	t.Run("B17.1-2 without one three conditions are HTTP codes", func(t *testing.T) {
		for name, offence := range offences {
			Custom(t, name, StdOptions, legacyAttrs, func(b *Harness, s *Session) {
				offence.commit(s).HasStatus(offence.status)
				assert.ErrorIs(b, s.App.Session().Err(), &bosh.Error{Condition: offence.condition})

				// B17.1-5 the session is over.
				s.Send(1005).GetsNow(Condition(bosh.ItemNotFound))
			})
		}
		Bubble(t, "a creation that is refused", StdOptions, func(b *Harness) {
			b.Post(Complete("<body rid='1' to='example.com' wait='-1'/>")).HasStatus(400)
			b.Post(Complete("<body rid='1' to='example.com' wait='-1' ver='1.6'/>")).GetsNow(Condition(bosh.BadRequest))
		})
	})

	Custom(t, "B17.1-2 the others of the session get other-request", StdOptions, legacyAttrs, func(b *Harness, s *Session) {
		held := s.Send(1001)
		s.Send(1009).HasStatus(404)
		held.GetsNow(Condition(bosh.OtherRequest))
	})

	Custom(t, "B17.1-3 all other conditions are status 200", StdOptions, legacyAttrs, func(b *Harness, s *Session) {
		held := s.Send(1001)
		require.NoError(b, s.App.CloseWithError(&bosh.Error{Condition: bosh.RemoteConnectionFailed}))
		held.GetsNow(Condition(bosh.RemoteConnectionFailed))
	})

	Bubble(t, "B17.1-4 so is what comes from who knows whom", StdOptions, func(b *Harness) {
		b.Post(Complete("<body rid='1' sid='nobody'/>")).GetsNow(Condition(bosh.ItemNotFound))
		b.Post("no XML").GetsNow(Condition(bosh.BadRequest))
		b.Post("").GetsNow(Condition(bosh.BadRequest))
		b.Post("<body rid='1'/>").GetsNow(Condition(bosh.BadRequest))
	})
}

// XEP-0124, section 17.2: terminal binding conditions.
func TestTerminalConditions(t *testing.T) {
	t.Run("B17.2-1 a terminal error ends the session", func(t *testing.T) {
		for name, offence := range offences {
			Std(t, name, func(b *Harness, s *Session) {
				offence.commit(s).GetsNow(Condition(offence.condition))
				assert.Error(b, s.App.Context().Err())
				assert.ErrorIs(b, s.App.Ended(), &bosh.Error{Condition: offence.condition})
				for range b.H.Sessions() {
					assert.Fail(b, "a session is left")
				}
				s.Gone()
			})
		}
	})

	t.Run("B17.2-2 bad-request", func(t *testing.T) {
		for name, body := range map[string]string{
			"malformed": "<body rid='1' to='example.com' ver='1.6'><a>",
			"no rid":    "<body to='example.com' ver='1.6'/>",
			"bad wait":  "<body rid='1' to='example.com' wait='soon' ver='1.6'/>",
			"bad hold":  "<body rid='1' to='example.com' hold='1.5' ver='1.6'/>",
		} {
			Bubble(t, name, StdOptions, func(b *Harness) {
				b.Post(Complete(body)).GetsNow(Condition(bosh.BadRequest))
			})
		}
	})

	refuse := func(e error) bosh.Options {
		return With(func(o *bosh.Options) {
			o.Admit = func(ctx context.Context, _ *http.Request, o *bosh.Opening) (context.Context, error) {
				if o.To == "good.example" {
					return ctx, nil
				}
				return nil, e
			}
		})
	}
	refused := func(t *testing.T, name string, e error, want string) {
		t.Helper()
		Bubble(t, name, refuse(e), func(b *Harness) {
			b.Post(Complete("<body rid='1000' to='bad.example' ver='1.6'/>")).GetsNow(want)
			assert.NotEmpty(b, b.Create("to='good.example' ver='1.6'").Sid)
		})
	}
	for name, cond := range map[string]bosh.Condition{
		"B17.2-3 a host that is gone":                bosh.HostGone,
		"B17.2-4 a host that is unknown":             bosh.HostUnknown,
		"B17.2-10 a backend that is not reached":     bosh.RemoteConnectionFailed,
		"B17.2-9 a client that is to come no more":   bosh.PolicyViolation,
		"B17.2-14 a reason that only Admit can know": bosh.UndefinedCondition,
	} {
		refused(t, name, &bosh.Error{Condition: cond}, Condition(cond))
	}
	refused(t, "B17.2-6 a reason that is none of the client's business", errors.New("disk full"),
		Condition(bosh.InternalServerError))
	refused(t, "B17.2-6 an error that cannot be sent", &bosh.Error{Condition: bosh.UndefinedCondition, Payload: []byte("<a>")},
		Condition(bosh.InternalServerError))
	refused(t, "B17.2-12 another URI", &bosh.Error{Condition: bosh.SeeOtherURI, URI: "https://bosh.example/?a&b"},
		"<body type='terminate' condition='see-other-uri'><uri>https://bosh.example/?a&amp;b</uri></body>")

	t.Run("B17.2-5 improper-addressing", func(t *testing.T) {
		xmpp := With(func(o *bosh.Options) { o.Framing = bosh.XMPP })
		for name, attrs := range map[string]string{"no to": "", "empty to": "to=''"} {
			Bubble(t, name, xmpp, func(b *Harness) {
				b.Post(Complete("<body rid='1' ver='1.6' " + attrs + "/>")).GetsNow(Condition(bosh.ImproperAddressing))
			})
		}
		xmpp.CreateTimeout = -1
		xmpp.Admit = func(ctx context.Context, _ *http.Request, o *bosh.Opening) (context.Context, error) {
			if o.To == "" {
				o.To = "default.example"
			}
			return ctx, nil
		}
		Custom(t, "a default domain", xmpp, "ver='1.6'", func(b *Harness, s *Session) {
			assert.Equal(b, "default.example", s.Granted.Attr("from"))
			assert.Contains(b, s.App.Text(), "to='default.example'")
		})
	})

	t.Run("B17.2-6 internal-server-error", func(t *testing.T) {
		panics := func(s *bosh.Stream) {
			if _, err := s.ReadElement(context.Background()); err == nil {
				panic("the application has a bug")
			}
		}
		Bubble(t, "the application panics", With(func(o *bosh.Options) { o.Serve = panics }), func(b *Harness) {
			create := func() *Session {
				return &Session{B: b, Sid: b.Post(Complete("<body rid='1000' " + StdAttrs + "/>")).Body().Attr("sid")}
			}
			one, two := create(), create()
			held := two.Send(1001)
			one.Send(1001, X("a")).GetsNow(Condition(bosh.InternalServerError))
			held.Waits()
			two.Send(1002, "type='terminate'").GetsNow(Empty)
			held.GetsNow(End)
		})
		Bubble(t, "Admit panics", With(func(o *bosh.Options) {
			o.Admit = func(context.Context, *http.Request, *bosh.Opening) (context.Context, error) { panic("a bug") }
		}), func(b *Harness) {
			b.Post(Complete("<body rid='1' to='example.com' ver='1.6'/>")).GetsNow(Condition(bosh.InternalServerError))
		})
	})

	t.Run("B17.2-7 item-not-found", func(t *testing.T) {
		Std(t, "sid", func(b *Harness, s *Session) {
			b.Post(Complete("<body rid='1001' sid='" + s.Sid[1:] + "'/>")).GetsNow(Condition(bosh.ItemNotFound))
			s.Alive()
		})
		twoStreams(t, "stream", ManyStreams, func(b *Harness, d *duo) {
			d.Send(1002, "stream='no'", X("a")).GetsNow(Condition(bosh.ItemNotFound))
		})
		Std(t, "rid above the window", func(b *Harness, s *Session) {
			s.Send(1003).GetsNow(Condition(bosh.ItemNotFound))
		})
		Std(t, "an answer that is not kept", func(b *Harness, s *Session) {
			offences["rid too old"].commit(s).GetsNow(Condition(bosh.ItemNotFound))
		})
		Custom(t, "key", StdOptions, StdAttrs+" newkey='0'", func(b *Harness, s *Session) {
			s.Send(1001, "key='1'").GetsNow(Condition(bosh.ItemNotFound))
		})
	})

	Custom(t, "B17.2-8 the innocent get other-request, in order and first", With(func(o *bosh.Options) { o.Hold = 3 }),
		"to='example.com' hold='3' wait='60' ver='1.11'", func(b *Harness, s *Session) {
			calls := []*Call{s.Send(1001, X("a")), s.Send(1002, X("b")), s.Send(1004, X("d")), s.Send(1008)}
			for _, c := range calls[:3] {
				c.GetsNow(Condition(bosh.OtherRequest))
			}
			calls[3].GetsNow(Condition(bosh.ItemNotFound))
			InOrder(b, calls)
		})

	t.Run("B17.2-9 policy-violation", func(t *testing.T) {
		for _, name := range []string{"overactive", "too many repeats"} {
			Std(t, name, func(b *Harness, s *Session) {
				offences[name].commit(s).GetsNow(Condition(bosh.PolicyViolation))
			})
		}
		Custom(t, "polling", StdOptions, "to='example.com' wait='0' hold='0' ver='1.6'", func(b *Harness, s *Session) {
			s.Send(1001).GetsNow(Empty)
			b.Wait(time.Second)
			s.Send(1002).GetsNow(Condition(bosh.PolicyViolation))
		})
		Bubble(t, "too many sessions", With(func(o *bosh.Options) { o.MaxSessions = 1 }), func(b *Harness) {
			s := b.Create()
			b.Post(Complete("<body rid='1' to='example.com' ver='1.6'/>")).GetsNow(Condition(bosh.PolicyViolation))
			s.Send(1001, "type='terminate'").GetsNow(End)
			b.Create()
		})
	})

	lost := &bosh.Error{Condition: bosh.RemoteConnectionFailed}
	Std(t, "B17.2-10 a backend that is lost, on the held request", func(b *Harness, s *Session) {
		held := s.Send(1001)
		b.Wait(time.Second)
		require.NoError(b, s.App.CloseWithError(lost))
		held.GetsNow(Condition(bosh.RemoteConnectionFailed))
		s.Gone()
	})
	Std(t, "B17.2-10 or on the next", func(b *Harness, s *Session) {
		require.NoError(b, s.App.CloseWithError(lost))
		b.Wait(20 * time.Second)
		s.Send(1001).GetsNow(Condition(bosh.RemoteConnectionFailed))
		s.Gone()
	})

	Std(t, "B17.2-14 undefined-condition with the application's element", func(b *Harness, s *Session) {
		held := s.Send(1001)
		payload := "<full xmlns='urn:example'/>"
		require.NoError(b, s.App.CloseWithError(&bosh.Error{Condition: bosh.UndefinedCondition, Payload: []byte(payload)}))
		held.GetsNow("<body type='terminate' condition='undefined-condition'>" + payload + "</body>")
	})

	Std(t, "B17.2-15 a client's own error is a terminate", func(b *Harness, s *Session) {
		held := s.Send(1001)
		s.Send(1002, "type='terminate' condition='bad-request'", X("a")).GetsNow(Empty)
		held.GetsNow(End)
		s.App.Reads(X("a"))
		assert.EqualError(b, s.App.Ended(), "EOF")
	})

	Std(t, "B17.2-16 what is queued goes before the error", func(b *Harness, s *Session) {
		s.App.Writes(X("1") + X("2"))
		e := &bosh.Error{Condition: bosh.UndefinedCondition, Payload: []byte("<e xmlns='v'/>")}
		require.NoError(b, s.App.CloseWithError(e))
		s.Send(1001).GetsNow("<body type='terminate' condition='undefined-condition'>" + X("1") + X("2") + "<e xmlns='v'/></body>")
	})

	Bubble(t, "B17.2-13 system-shutdown for everyone", StdOptions, func(b *Harness) {
		var held []*Call
		for range 3 {
			held = append(held, b.Create().Send(1001))
		}
		require.NoError(b, b.H.Shutdown(b.Context()))
		for _, c := range held {
			c.GetsNow(Condition(bosh.SystemShutdown))
		}
		b.Post(Complete("<body rid='1' to='example.com' ver='1.6'/>")).GetsNow(Condition(bosh.SystemShutdown))
	})
}

// XEP-0124, sections 17.3 and 17.4: recoverable conditions, and errors that
// are none of ours.
func TestRecoverableConditions(t *testing.T) {
	Std(t, "B17.3-1 a recoverable error has no condition and ends nothing", func(b *Harness, s *Session) {
		held := s.Send(1001, X("a"))
		repeat := s.Send(1001, X("a"))
		held.GetsNow(Again)
		assert.Equal(b, http.StatusOK, held.Answer().Status)
		s.Alive()
		s.App.Writes(X("b"))
		repeat.GetsNow(Answer(X("b")))
		s.App.Reads(X("a"))
	})

	Custom(t, "B17.3-2 the client repeats all that is unanswered", With(func(o *bosh.Options) { o.Hold = 2 }),
		"to='example.com' hold='2' wait='60' ver='1.11'", func(b *Harness, s *Session) {
			one, two := s.Send(1001, X("1")), s.Send(1002, X("2"))
			s.Send(1002, X("2")).Breaks()
			two.GetsNow(Again)
			one2, two2 := s.Send(1001, X("1")), s.Send(1002, X("2"))
			one.GetsNow(Again)
			s.App.Reads(X("1") + X("2"))
			s.App.Writes(X("a"))
			one2.GetsNow(Answer(X("a")))
			two2.Waits()
			s.App.Writes(X("b"))
			two2.GetsNow(Answer(X("b")))
		})

	Std(t, "B17.4-1 errors within payloads are transparent", func(b *Harness, s *Session) {
		iq := "<iq xmlns='jabber:client' type='error' id='1'><error type='cancel'/></iq>"
		held := s.Send(1001, iq)
		s.App.Reads(iq)
		s.App.Writes(iq)
		held.GetsNow(Answer(iq))
		s.Alive()
	})
}

// A request that comes late is told why its session is gone, as long as its answers are
// kept, if it was this side that ended it.
func TestLateRequests(t *testing.T) {
	failure := "<e xmlns='urn:example'/>"
	for name, test := range map[string]struct {
		e    *bosh.Error
		want string
	}{
		"an operator":            {&bosh.Error{Condition: bosh.PolicyViolation}, Condition(bosh.PolicyViolation)},
		"the server behind":      {&bosh.Error{Condition: bosh.RemoteConnectionFailed}, Condition(bosh.RemoteConnectionFailed)},
		"another place":          {&bosh.Error{Condition: bosh.SeeOtherURI, URI: "https://b.example/"}, "<body type='terminate' condition='see-other-uri'><uri>https://b.example/</uri></body>"},
		"what there is to say":   {&bosh.Error{Condition: bosh.UndefinedCondition, Payload: []byte(failure)}, "<body type='terminate' condition='undefined-condition'>" + failure + "</body>"},
		"too much to be kept":    {&bosh.Error{Condition: bosh.UndefinedCondition, Payload: []byte("<e xmlns='u'>" + strings.Repeat("x", 5000) + "</e>")}, Condition(bosh.UndefinedCondition)},
		"nothing, in good order": {nil, Condition(bosh.ItemNotFound)},
	} {
		Std(t, "held: "+name, func(b *Harness, s *Session) {
			held := s.Send(1001)
			require.NoError(b, s.App.Session().Terminate(test.e))
			held.Body()
			b.Wait(20 * time.Second)
			s.Send(1002).GetsNow(test.want)
			b.Wait(time.Minute)
			s.Send(1003).GetsNow(Condition(bosh.ItemNotFound))
		})
	}
	Std(t, "one that has not heard of it in time", func(b *Harness, s *Session) {
		held := s.Send(1001)
		b.Wait(70 * time.Second)
		held.Body()
		require.NoError(b, s.App.Session().Terminate(&bosh.Error{Condition: bosh.HostGone}))
		for s.App.Session().Err() == nil { // until it is given up
			b.Wait(time.Second)
		}
		s.Send(1002).GetsNow(Condition(bosh.HostGone))
	})
	Std(t, "the client's own end, and its own fault", func(b *Harness, s *Session) {
		s.Send(1001, "type='terminate'").Body()
		s.Send(1002).GetsNow(Condition(bosh.ItemNotFound))
	})
	Std(t, "Close", func(b *Harness, s *Session) {
		require.NoError(b, b.H.Close())
		s.Send(1001).GetsNow(Condition(bosh.SystemShutdown))
	})
}
