package bosh_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// legacyAttrs are those of a client that sends no version.
const legacyAttrs = "to='example.com' hold='1' wait='60'"

// hasStatus fails the test unless the call was answered by a bare HTTP status.
func (c *call) hasStatus(status int) {
	c.b.Helper()
	r := c.answer()
	assert.Equal(c.b, status, r.status, "to %s", c.name)
	assert.Empty(c.b, r.body)
}

// offences are what a client can do to end its session by a condition. Each
// sends rids from 1001 on and returns the call of the offending request.
var offences = map[string]struct {
	condition bosh.Condition
	status    int // for legacy clients
	commit    func(s *session) *call
}{
	"malformed":        {bosh.BadRequest, 400, func(s *session) *call { return s.send(1001, "<a></b>") }},
	"text":             {bosh.BadRequest, 400, func(s *session) *call { return s.b.post(complete("<body rid='1001' sid='" + s.sid + "'>text</body>")) }},
	"rid above window": {bosh.ItemNotFound, 404, func(s *session) *call { return s.send(1003) }},
	"rid too old": {bosh.ItemNotFound, 404, func(s *session) *call {
		for rid := int64(1001); rid < 1005; rid++ {
			s.send(rid, x("a"))
		}
		c := s.send(1001, x("a"))
		s.b.wait(doubt)
		return c
	}},
	"overactive": {bosh.PolicyViolation, 403, func(s *session) *call {
		s.send(1001)
		return s.send(1002)
	}},
	"too many repeats": {bosh.PolicyViolation, 403, func(s *session) *call {
		var c *call
		for range 12 {
			c = s.send(1001)
		}
		return c
	}},
}

// XEP-0124, section 17.1: HTTP codes and legacy clients.
func TestLegacyErrors(t *testing.T) {
	t.Run("B17.1-1 with a version all errors are status 200", func(t *testing.T) {
		for name, offence := range offences {
			std(t, name, func(b *bench, s *session) {
				offence.commit(s).getsNow(condition(offence.condition))
				s.gone()
			})
		}
	})

	t.Run("B17.1-2 without one three conditions are HTTP codes", func(t *testing.T) {
		for name, offence := range offences {
			custom(t, name, stdOptions, legacyAttrs, func(b *bench, s *session) {
				offence.commit(s).hasStatus(offence.status)
				assert.ErrorIs(b, s.app.Session().Err(), &bosh.Error{Condition: offence.condition})

				// B17.1-5 the session is over.
				s.send(1005).getsNow(condition(bosh.ItemNotFound))
			})
		}
		bubble(t, "a creation that is refused", stdOptions, func(b *bench) {
			b.post(complete("<body rid='1' to='example.com' wait='-1'/>")).hasStatus(400)
			b.post(complete("<body rid='1' to='example.com' wait='-1' ver='1.6'/>")).getsNow(condition(bosh.BadRequest))
		})
	})

	custom(t, "B17.1-2 the others of the session get other-request", stdOptions, legacyAttrs, func(b *bench, s *session) {
		held := s.send(1001)
		s.send(1009).hasStatus(404)
		held.getsNow(condition(bosh.OtherRequest))
	})

	custom(t, "B17.1-3 all other conditions are status 200", stdOptions, legacyAttrs, func(b *bench, s *session) {
		held := s.send(1001)
		require.NoError(b, s.app.CloseWithError(&bosh.Error{Condition: bosh.RemoteConnectionFailed}))
		held.getsNow(condition(bosh.RemoteConnectionFailed))
	})

	bubble(t, "B17.1-4 so is what comes from who knows whom", stdOptions, func(b *bench) {
		b.post(complete("<body rid='1' sid='nobody'/>")).getsNow(condition(bosh.ItemNotFound))
		b.post("no XML").getsNow(condition(bosh.BadRequest))
		b.post("").getsNow(condition(bosh.BadRequest))
		b.post("<body rid='1'/>").getsNow(condition(bosh.BadRequest))
	})
}

// XEP-0124, section 17.2: terminal binding conditions.
func TestTerminalConditions(t *testing.T) {
	t.Run("B17.2-1 a terminal error ends the session", func(t *testing.T) {
		for name, offence := range offences {
			std(t, name, func(b *bench, s *session) {
				offence.commit(s).getsNow(condition(offence.condition))
				assert.Error(b, s.app.Context().Err())
				assert.ErrorIs(b, s.app.ended(), &bosh.Error{Condition: offence.condition})
				for range b.h.Sessions() {
					assert.Fail(b, "a session is left")
				}
				s.gone()
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
			bubble(t, name, stdOptions, func(b *bench) {
				b.post(complete(body)).getsNow(condition(bosh.BadRequest))
			})
		}
	})

	refuse := func(e error) bosh.Options {
		return with(func(o *bosh.Options) {
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
		bubble(t, name, refuse(e), func(b *bench) {
			b.post(complete("<body rid='1000' to='bad.example' ver='1.6'/>")).getsNow(want)
			assert.NotEmpty(b, b.create("to='good.example' ver='1.6'").sid)
		})
	}
	for name, cond := range map[string]bosh.Condition{
		"B17.2-3 a host that is gone":                bosh.HostGone,
		"B17.2-4 a host that is unknown":             bosh.HostUnknown,
		"B17.2-10 a backend that is not reached":     bosh.RemoteConnectionFailed,
		"B17.2-9 a client that is to come no more":   bosh.PolicyViolation,
		"B17.2-14 a reason that only Admit can know": bosh.UndefinedCondition,
	} {
		refused(t, name, &bosh.Error{Condition: cond}, condition(cond))
	}
	refused(t, "B17.2-6 a reason that is none of the client's business", errors.New("disk full"),
		condition(bosh.InternalServerError))
	refused(t, "B17.2-6 an error that cannot be sent", &bosh.Error{Condition: bosh.UndefinedCondition, Payload: []byte("<a>")},
		condition(bosh.InternalServerError))
	refused(t, "B17.2-12 another URI", &bosh.Error{Condition: bosh.SeeOtherURI, URI: "https://bosh.example/?a&b"},
		"<body type='terminate' condition='see-other-uri'><uri>https://bosh.example/?a&amp;b</uri></body>")

	t.Run("B17.2-5 improper-addressing", func(t *testing.T) {
		xmpp := with(func(o *bosh.Options) { o.Framing = bosh.XMPP })
		for name, attrs := range map[string]string{"no to": "", "empty to": "to=''"} {
			bubble(t, name, xmpp, func(b *bench) {
				b.post(complete("<body rid='1' ver='1.6' " + attrs + "/>")).getsNow(condition(bosh.ImproperAddressing))
			})
		}
		xmpp.CreateTimeout = -1
		xmpp.Admit = func(ctx context.Context, _ *http.Request, o *bosh.Opening) (context.Context, error) {
			if o.To == "" {
				o.To = "default.example"
			}
			return ctx, nil
		}
		custom(t, "a default domain", xmpp, "ver='1.6'", func(b *bench, s *session) {
			assert.Equal(b, "default.example", s.granted.Attr("from"))
			assert.Contains(b, s.app.read(), "to='default.example'")
		})
	})

	t.Run("B17.2-6 internal-server-error", func(t *testing.T) {
		panics := func(s *bosh.Stream) {
			if _, err := s.ReadElement(context.Background()); err == nil {
				panic("the application has a bug")
			}
		}
		bubble(t, "the application panics", with(func(o *bosh.Options) { o.Serve = panics }), func(b *bench) {
			create := func() *session {
				return &session{b: b, sid: b.post(complete("<body rid='1000' " + stdAttrs + "/>")).body().Attr("sid")}
			}
			one, two := create(), create()
			held := two.send(1001)
			one.send(1001, x("a")).getsNow(condition(bosh.InternalServerError))
			held.waits()
			two.send(1002, "type='terminate'").getsNow(empty)
			held.getsNow(end)
		})
		bubble(t, "Admit panics", with(func(o *bosh.Options) {
			o.Admit = func(context.Context, *http.Request, *bosh.Opening) (context.Context, error) { panic("a bug") }
		}), func(b *bench) {
			b.post(complete("<body rid='1' to='example.com' ver='1.6'/>")).getsNow(condition(bosh.InternalServerError))
		})
	})

	t.Run("B17.2-7 item-not-found", func(t *testing.T) {
		std(t, "sid", func(b *bench, s *session) {
			b.post(complete("<body rid='1001' sid='" + s.sid[1:] + "'/>")).getsNow(condition(bosh.ItemNotFound))
			s.alive()
		})
		twoStreams(t, "stream", manyStreams, func(b *bench, d *duo) {
			d.send(1002, "stream='no'", x("a")).getsNow(condition(bosh.ItemNotFound))
		})
		std(t, "rid above the window", func(b *bench, s *session) {
			s.send(1003).getsNow(condition(bosh.ItemNotFound))
		})
		std(t, "an answer that is not kept", func(b *bench, s *session) {
			offences["rid too old"].commit(s).getsNow(condition(bosh.ItemNotFound))
		})
		custom(t, "key", stdOptions, stdAttrs+" newkey='0'", func(b *bench, s *session) {
			s.send(1001, "key='1'").getsNow(condition(bosh.ItemNotFound))
		})
	})

	custom(t, "B17.2-8 the innocent get other-request, in order and first", with(func(o *bosh.Options) { o.Hold = 3 }),
		"to='example.com' hold='3' wait='60' ver='1.11'", func(b *bench, s *session) {
			calls := []*call{s.send(1001, x("a")), s.send(1002, x("b")), s.send(1004, x("d")), s.send(1008)}
			for _, c := range calls[:3] {
				c.getsNow(condition(bosh.OtherRequest))
			}
			calls[3].getsNow(condition(bosh.ItemNotFound))
			inOrder(b, calls)
		})

	t.Run("B17.2-9 policy-violation", func(t *testing.T) {
		for _, name := range []string{"overactive", "too many repeats"} {
			std(t, name, func(b *bench, s *session) {
				offences[name].commit(s).getsNow(condition(bosh.PolicyViolation))
			})
		}
		custom(t, "polling", stdOptions, "to='example.com' wait='0' hold='0' ver='1.6'", func(b *bench, s *session) {
			s.send(1001).getsNow(empty)
			b.wait(time.Second)
			s.send(1002).getsNow(condition(bosh.PolicyViolation))
		})
		bubble(t, "too many sessions", with(func(o *bosh.Options) { o.MaxSessions = 1 }), func(b *bench) {
			s := b.create()
			b.post(complete("<body rid='1' to='example.com' ver='1.6'/>")).getsNow(condition(bosh.PolicyViolation))
			s.send(1001, "type='terminate'").getsNow(end)
			b.create()
		})
	})

	lost := &bosh.Error{Condition: bosh.RemoteConnectionFailed}
	std(t, "B17.2-10 a backend that is lost, on the held request", func(b *bench, s *session) {
		held := s.send(1001)
		b.wait(time.Second)
		require.NoError(b, s.app.CloseWithError(lost))
		held.getsNow(condition(bosh.RemoteConnectionFailed))
		s.gone()
	})
	std(t, "B17.2-10 or on the next", func(b *bench, s *session) {
		require.NoError(b, s.app.CloseWithError(lost))
		b.wait(20 * time.Second)
		s.send(1001).getsNow(condition(bosh.RemoteConnectionFailed))
		s.gone()
	})

	std(t, "B17.2-14 undefined-condition with the application's element", func(b *bench, s *session) {
		held := s.send(1001)
		payload := "<full xmlns='urn:example'/>"
		require.NoError(b, s.app.CloseWithError(&bosh.Error{Condition: bosh.UndefinedCondition, Payload: []byte(payload)}))
		held.getsNow("<body type='terminate' condition='undefined-condition'>" + payload + "</body>")
	})

	std(t, "B17.2-15 a client's own error is a terminate", func(b *bench, s *session) {
		held := s.send(1001)
		s.send(1002, "type='terminate' condition='bad-request'", x("a")).getsNow(empty)
		held.getsNow(end)
		s.app.reads(x("a"))
		assert.EqualError(b, s.app.ended(), "EOF")
	})

	std(t, "B17.2-16 what is queued goes before the error", func(b *bench, s *session) {
		s.app.writes(x("1") + x("2"))
		e := &bosh.Error{Condition: bosh.UndefinedCondition, Payload: []byte("<e xmlns='v'/>")}
		require.NoError(b, s.app.CloseWithError(e))
		s.send(1001).getsNow("<body type='terminate' condition='undefined-condition'>" + x("1") + x("2") + "<e xmlns='v'/></body>")
	})

	bubble(t, "B17.2-13 system-shutdown for everyone", stdOptions, func(b *bench) {
		var held []*call
		for range 3 {
			held = append(held, b.create().send(1001))
		}
		require.NoError(b, b.h.Shutdown(b.Context()))
		for _, c := range held {
			c.getsNow(condition(bosh.SystemShutdown))
		}
		b.post(complete("<body rid='1' to='example.com' ver='1.6'/>")).getsNow(condition(bosh.SystemShutdown))
	})
}

// XEP-0124, sections 17.3 and 17.4: recoverable conditions, and errors that
// are none of ours.
func TestRecoverableConditions(t *testing.T) {
	std(t, "B17.3-1 a recoverable error has no condition and ends nothing", func(b *bench, s *session) {
		held := s.send(1001, x("a"))
		repeat := s.send(1001, x("a"))
		held.getsNow(again)
		assert.Equal(b, http.StatusOK, held.answer().status)
		s.alive()
		s.app.writes(x("b"))
		repeat.getsNow(answer(x("b")))
		s.app.reads(x("a"))
	})

	custom(t, "B17.3-2 the client repeats all that is unanswered", with(func(o *bosh.Options) { o.Hold = 2 }),
		"to='example.com' hold='2' wait='60' ver='1.11'", func(b *bench, s *session) {
			one, two := s.send(1001, x("1")), s.send(1002, x("2"))
			s.send(1002, x("2")).breaks()
			two.getsNow(again)
			one2, two2 := s.send(1001, x("1")), s.send(1002, x("2"))
			one.getsNow(again)
			s.app.reads(x("1") + x("2"))
			s.app.writes(x("a"))
			one2.getsNow(answer(x("a")))
			two2.waits()
			s.app.writes(x("b"))
			two2.getsNow(answer(x("b")))
		})

	std(t, "B17.4-1 errors within payloads are transparent", func(b *bench, s *session) {
		iq := "<iq xmlns='jabber:client' type='error' id='1'><error type='cancel'/></iq>"
		held := s.send(1001, iq)
		s.app.reads(iq)
		s.app.writes(iq)
		held.getsNow(answer(iq))
		s.alive()
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
		"an operator":            {&bosh.Error{Condition: bosh.PolicyViolation}, condition(bosh.PolicyViolation)},
		"the server behind":      {&bosh.Error{Condition: bosh.RemoteConnectionFailed}, condition(bosh.RemoteConnectionFailed)},
		"another place":          {&bosh.Error{Condition: bosh.SeeOtherURI, URI: "https://b.example/"}, "<body type='terminate' condition='see-other-uri'><uri>https://b.example/</uri></body>"},
		"what there is to say":   {&bosh.Error{Condition: bosh.UndefinedCondition, Payload: []byte(failure)}, "<body type='terminate' condition='undefined-condition'>" + failure + "</body>"},
		"too much to be kept":    {&bosh.Error{Condition: bosh.UndefinedCondition, Payload: []byte("<e xmlns='u'>" + strings.Repeat("x", 5000) + "</e>")}, condition(bosh.UndefinedCondition)},
		"nothing, in good order": {nil, condition(bosh.ItemNotFound)},
	} {
		std(t, "held: "+name, func(b *bench, s *session) {
			held := s.send(1001)
			require.NoError(b, s.app.Session().Terminate(test.e))
			held.body()
			b.wait(20 * time.Second)
			s.send(1002).getsNow(test.want)
			b.wait(time.Minute)
			s.send(1003).getsNow(condition(bosh.ItemNotFound))
		})
	}
	std(t, "one that has not heard of it in time", func(b *bench, s *session) {
		held := s.send(1001)
		b.wait(70 * time.Second)
		held.body()
		require.NoError(b, s.app.Session().Terminate(&bosh.Error{Condition: bosh.HostGone}))
		for s.app.Session().Err() == nil { // until it is given up
			b.wait(time.Second)
		}
		s.send(1002).getsNow(condition(bosh.HostGone))
	})
	std(t, "the client's own end, and its own fault", func(b *bench, s *session) {
		s.send(1001, "type='terminate'").body()
		s.send(1002).getsNow(condition(bosh.ItemNotFound))
	})
	std(t, "Close", func(b *bench, s *session) {
		require.NoError(b, b.h.Close())
		s.send(1001).getsNow(condition(bosh.SystemShutdown))
	})
}
