package bosh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// manyStreams are std's options with several streams allowed.
var manyStreams = with(func(o *bosh.Options) { o.MaxStreams = 3 })

// A duo is a session of two streams, whose next rid is 1002.
type duo struct {
	*session
	one, two *app
	opened   *call // what opened the second
}

// twoStreams runs f with a duo.
func twoStreams(t *testing.T, name string, o bosh.Options, f func(b *bench, d *duo)) {
	t.Helper()
	custom(t, name, o, stdAttrs, func(b *bench, s *session) {
		d := &duo{session: s, one: s.app}
		d.opened = s.send(1001, "to='example.net'")
		d.two = b.app(-1)
		require.NotSame(b, d.one, d.two)
		f(b, d)
	})
}

// stream is the attribute that names the stream of a.
func stream(a *app) string { return "stream='" + a.Name() + "'" }

// answerOf is an answer with payloads of the stream of a.
func answerOf(a *app, payload string) string {
	return "<body " + stream(a) + ">" + payload + "</body>"
}

// endOf is the answer that tells the end of the stream of a.
func endOf(a *app, attrs ...string) string {
	all := "type='terminate' " + stream(a)
	for _, attr := range attrs {
		all += " " + attr
	}
	return "<body " + all + "/>"
}

// XEP-0124, section 16: multiple streams, switched off.
func TestStreamsOff(t *testing.T) {
	std(t, "B16.1-1 B16.2-1 no stream is named", func(b *bench, s *session) {
		_, ok := s.granted.Lookup("stream")
		assert.False(b, ok)
		c := s.send(1001)
		s.app.writes(x("a"))
		c.getsNow(answer(x("a")))
	})

	std(t, "B16.3-1 a request for a stream is an empty one", func(b *bench, s *session) {
		c := s.send(1001, "to='example.net' route='xmpp:example.net:5222' xml:lang='de'")
		b.wait(2 * time.Second)
		c.waits()
		s.app.writes(x("a"))
		c.getsNow(answer(x("a")))
		assert.Same(b, s.app, b.app(-1), "a second stream")
		assert.Equal(b, "example.com", s.app.Opening().To)
	})

	std(t, "B16.1-1 a stream in a request means nothing", func(b *bench, s *session) {
		s.send(1001, "stream='bogus'", x("a")).waits()
		s.app.reads(x("a"))
		s.send(1002, "stream='bogus' type='terminate'")
		assert.Equal(b, io.EOF, s.app.ended())
		s.gone()
	})
}

// XEP-0124, sections 16.2 and 16.3: discovering and adding streams.
func TestStreamsAdded(t *testing.T) {
	custom(t, "B16.2-1 the creation names the first stream", manyStreams, stdAttrs, func(b *bench, s *session) {
		assert.NotEmpty(b, s.granted.Attr("stream"))
		assert.Equal(b, s.app.Name(), s.granted.Attr("stream"))
	})

	custom(t, "B16.2-1 alone it is not named again", manyStreams, stdAttrs, func(b *bench, s *session) {
		c := s.send(1001)
		s.app.writes(x("a"))
		c.getsNow(answer(x("a")))
		s.send(1002, "type='terminate' "+stream(s.app)).getsNow(end)
		s.gone()
	})

	two := with(func(o *bosh.Options) {
		o.MaxStreams, o.Hold = 3, 2
		o.Admit = func(ctx context.Context, _ *http.Request, op *bosh.Opening) (context.Context, error) {
			if op.To == "example.net" {
				op.Framing = bosh.XMPP // so that its opening waits for output
			}
			return ctx, nil
		}
	})
	custom(t, "B16.3-2 the answer to the opening speaks first for the stream", two, "to='example.com' hold='2' wait='60' ver='1.11'", func(b *bench, s *session) {
		older := s.send(1001)
		opening := s.send(1002, "to='example.net'")
		b.app(-1).writes("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>" + x("a"))
		older.getsNow(empty)
		assert.Equal(b, b.app(-1).Name(), opening.body().Attr("stream"))
		assert.Equal(b, x("a"), string(opening.body().Payloads[0]))
	})

	bubble(t, "B16.2-2 names are unpredictable and unique", with(func(o *bosh.Options) { o.MaxStreams = 64 }), func(b *bench) {
		seen := make(map[string]bool)
		const sessions = 30
		for range sessions {
			s := b.create()
			seen[s.granted.Attr("stream")] = true
			for rid := int64(1001); rid < 1064; rid++ {
				name := s.send(rid, "to='example.net'").body().Attr("stream")
				assert.GreaterOrEqual(b, len(name), 26, "less than 128 bits")
				seen[name] = true
			}
			assert.NotContains(b, seen, s.sid)
		}
		assert.Len(b, seen, sessions*64)
	})

	twoStreams(t, "B16.3-2 a request with to opens a stream", manyStreams, func(b *bench, d *duo) {
		d.opened.getsNow("<body from='example.net' " + stream(d.two) + "/>")
		assert.NotEqual(b, d.one.Name(), d.two.Name())
		assert.Equal(b, "example.net", d.two.Opening().To)
		assert.Same(b, d.one.Session(), d.two.Session())
		assert.Len(b, d.two.Session().Streams(), 2)
	})

	custom(t, "B16.3-2 its repeat opens no other", manyStreams, stdAttrs, func(b *bench, s *session) {
		first := s.send(1001, "to='example.net'")
		repeat := s.send(1001, "to='example.net'")
		repeat.getsNow("<body from='example.net' " + stream(b.app(1)) + "/>")
		assert.Equal(b, first.answer().body, repeat.answer().body)
		assert.Len(b, s.app.Session().Streams(), 2)
	})

	custom(t, "B16.3-3 the answer has nothing of a creation", with(func(o *bosh.Options) { o.MaxStreams, o.NoAcks = 2, false }),
		stdAttrs, func(b *bench, s *session) {
			c := s.send(1001, "to='example.net'")
			for _, a := range c.body().Attrs {
				assert.Contains(b, []string{"stream", "from", "xmlns", "ack"}, a.Name)
			}
		})

	late := manyStreams
	late.Admit = func(ctx context.Context, _ *http.Request, o *bosh.Opening) (context.Context, error) {
		if o.To == "late.example" {
			select {
			case <-time.After(90 * time.Second):
			case <-ctx.Done():
			}
		}
		return ctx, nil
	}
	custom(t, "B16.3-4 a stream admitted late is named along with from", late, stdAttrs, func(b *bench, s *session) {
		c := s.send(1001, "to='late.example'")
		c.getsAfter(patience, empty)
		c = s.send(1002, x("a"))
		s.app.reads(x("a"))
		c.waits()
		b.wait(90*time.Second - patience)
		c.getsNow("<body from='late.example' " + stream(b.app(1)) + "/>")
	})

	custom(t, "B16.3-4 also if the request was lost meanwhile", late, stdAttrs, func(b *bench, s *session) {
		s.send(1001, "to='late.example'").breaks()
		b.wait(time.Second)
		s.send(1002, x("a")).getsAfter(patience, empty)
		c := s.send(1003)
		c.waits()
		b.wait(89*time.Second - patience)
		c.getsNow("<body from='late.example' " + stream(b.app(1)) + "/>")
	})

	custom(t, "B16.3-5 ver content hold and wait are ignored", manyStreams, stdAttrs, func(b *bench, s *session) {
		c := s.send(1001, "to='example.net' ver='1.6' content='text/html' hold='5' wait='1'")
		c.getsNow("<body from='example.net' " + stream(b.app(1)) + "/>")
		assert.Equal(b, "text/xml; charset=utf-8", c.answer().header.Get("Content-Type"))
		c = s.send(1002)
		c.getsAfter(patience, empty)
		first := s.send(1003, x("a"))
		first.waits()
		s.send(1004, x("b"))
		first.getsNow(empty)
	})

	custom(t, "B16.3-2 no more of them than MaxStreams", manyStreams, stdAttrs, func(b *bench, s *session) {
		s.send(1001, "to='example.net'")
		s.send(1002, "to='example.net'")
		refused := s.send(1003, "to='example.net'")
		body := refused.body()
		assert.Equal(b, "terminate", body.Attr("type"))
		assert.Equal(b, "policy-violation", body.Attr("condition"))
		assert.NotEmpty(b, body.Attr("stream"))
		assert.Len(b, s.app.Session().Streams(), 3)
		s.send(1004, "type='terminate' "+stream(s.app))
		s.send(1005, "to='example.net'").getsNow("<body from='example.net' " + stream(b.app(3)) + "/>")
	})
}

// XEP-0124, section 16.4: transmitting payloads.
func TestStreamsPayloads(t *testing.T) {
	twoStreams(t, "B16.4-1 each answer is of one stream and names it", manyStreams, func(b *bench, d *duo) {
		_, err := io.WriteString(d.one, x("1"))
		require.NoError(b, err)
		_, err = io.WriteString(d.two, x("2"))
		require.NoError(b, err)
		d.send(1002).getsNow(answerOf(d.one, x("1")))
		d.send(1003).getsNow(answerOf(d.two, x("2")))
	})

	twoStreams(t, "B16.4-1 every stream has its turn", manyStreams, func(b *bench, d *duo) {
		for i := range 6 {
			d.one.writes(x("1"))
			d.two.writes(x("2"))
			want := answerOf(d.one, x("1"))
			if i == 0 {
				d.send(1002).getsNow(want)
			}
			if i%2 == 0 {
				c := d.send(int64(1003 + i))
				name := c.body().Attr("stream")
				assert.Equal(b, d.two.Name(), name)
				continue
			}
			assert.Equal(b, d.one.Name(), d.send(int64(1003+i)).body().Attr("stream"))
		}
	})

	twoStreams(t, "B16.4-2 payloads without stream go to all", manyStreams, func(b *bench, d *duo) {
		d.send(1002, x("a"), x("b"))
		d.one.reads(x("a") + x("b"))
		d.two.reads(x("a") + x("b"))
	})

	twoStreams(t, "B16.4-3 payloads with stream go to that one", manyStreams, func(b *bench, d *duo) {
		c := d.send(1002, stream(d.two), x("a"))
		d.one.reads("")
		d.two.reads(x("a"))
		d.one.writes(x("b"))
		c.getsNow(answerOf(d.one, x("b")))
	})

	twoStreams(t, "B16.4-4 an unknown stream is item-not-found", manyStreams, func(b *bench, d *duo) {
		d.send(1002, "stream='bogus'", x("a")).getsNow(condition(bosh.ItemNotFound))
		d.one.reads("")
		d.two.reads("")
		d.gone()
		assert.Error(b, d.one.ended())
		assert.Error(b, d.two.ended())
	})

	twoStreams(t, "B16.4-5 payloads for a stream just closed are dropped", manyStreams, func(b *bench, d *duo) {
		held := d.send(1002)
		require.NoError(b, d.two.Close())
		held.getsNow(endOf(d.two))
		c := d.send(1003, stream(d.two), x("late"))
		c.waits()
		d.one.reads("")
		d.one.writes(x("a"))
		c.getsNow(answerOf(d.one, x("a")))
	})

	twoStreams(t, "B16.4-5 also before the client knows", manyStreams, func(b *bench, d *duo) {
		require.NoError(b, d.two.Close())
		d.send(1002, stream(d.two), x("late")).getsNow(endOf(d.two))
		d.one.reads("")
		d.send(1003, stream(d.one), x("a"))
		d.one.reads(x("a"))
	})

	twoStreams(t, "B16.4-5 and for one that the client has closed", manyStreams, func(b *bench, d *duo) {
		early := d.send(1003, stream(d.two), x("late"))
		d.send(1002, "type='terminate' "+stream(d.two)).getsNow(endOf(d.two))
		early.waits()
		d.two.reads("")
		d.one.reads("")
		d.alive()
	})

	twoStreams(t, "B16.4-6 empty bodies carry no stream", manyStreams, func(b *bench, d *duo) {
		d.send(1002).getsAfter(patience, empty)
		c := d.send(1003, "stream='bogus'")
		c.getsAfter(patience, empty)
		d.alive()
	})

	twoStreams(t, "B16.4-7 rids and timers are the session's", manyStreams, func(b *bench, d *duo) {
		second := d.send(1003, stream(d.two), x("2"))
		second.waits()
		d.two.reads("")
		first := d.send(1002, stream(d.one), x("1"))
		d.one.reads(x("1"))
		d.two.reads(x("2"))
		first.getsNow(empty) // hold is 1 for both together
		second.getsAfter(patience, empty)
		d.send(1003, stream(d.two), x("2")).getsNow(empty)
		d.send(1006, stream(d.one)).getsNow(condition(bosh.ItemNotFound))
		assert.Error(b, d.one.ended())
		assert.Error(b, d.two.ended())
	})

	twoStreams(t, "B16.4-7 so is inactivity", manyStreams, func(b *bench, d *duo) {
		d.send(1002, stream(d.one), x("1")).getsAfter(patience, empty)
		b.wait(30*time.Second + overtime)
		d.gone()
		assert.Error(b, d.two.ended())
	})

	twoStreams(t, "B16.4-1 what a stream hands back is its own", manyStreams, func(b *bench, d *duo) {
		d.one.writes(x("1"))
		d.two.writes(x("2"))
		d.send(1002).getsNow(answerOf(d.one, x("1")))
		b.wait(30*time.Second + overtime)
		assert.Equal(b, []string{x("1") + "*"}, d.one.undelivered())
		assert.Equal(b, []string{x("2")}, d.two.undelivered())
	})

	custom(t, "B16.4-1 also what was sent before there was another", manyStreams, stdAttrs, func(b *bench, s *session) {
		c := s.send(1001)
		s.app.writes(x("1"))
		c.getsNow(answer(x("1")))
		s.send(1002, "to='example.net'")
		two := b.app(1)
		b.wait(30*time.Second + overtime)
		assert.Equal(b, []string{x("1") + "*"}, s.app.undelivered())
		assert.Empty(b, two.undelivered())
	})
}

// XEP-0124, sections 16.5 and 16.6: ends and errors of streams.
func TestStreamsEnd(t *testing.T) {
	twoStreams(t, "B16.5-1 terminate with a stream closes that one", manyStreams, func(b *bench, d *duo) {
		held := d.send(1002)
		c := d.send(1003, "type='terminate' "+stream(d.two), x("bye"))
		held.getsNow(endOf(d.two))
		c.waits()
		d.two.reads(x("bye"))
		assert.Equal(b, io.EOF, d.two.ended())
		d.one.reads("")
		assert.Error(b, d.two.Context().Err())
		require.NoError(b, d.one.Context().Err())

		d.one.writes(x("a"))
		c.getsNow(answerOf(d.one, x("a")))
		d.send(1004, stream(d.one), x("b"))
		d.one.reads(x("b"))
		assert.Equal(b, []*bosh.Stream{d.one.Stream}, d.one.Session().Streams())
	})

	twoStreams(t, "B16.5-1 what it had written goes along", manyStreams, func(b *bench, d *duo) {
		d.two.writes(x("last"))
		d.send(1002, "type='terminate' "+stream(d.two)).
			getsNow("<body type='terminate' " + stream(d.two) + ">" + x("last") + "</body>")
	})

	twoStreams(t, "B16.5-1 a second terminate crosses the first", manyStreams, func(b *bench, d *duo) {
		held := d.send(1002)
		require.NoError(b, d.two.Close())
		held.getsNow(endOf(d.two))
		d.send(1003, "type='terminate' "+stream(d.two)).waits()
		d.alive()
		d.one.writes(x("a"))
	})

	twoStreams(t, "B16.5-1 or comes before the end was told", manyStreams, func(b *bench, d *duo) {
		require.NoError(b, d.two.Close())
		d.send(1002, "type='terminate' "+stream(d.two)).getsNow(endOf(d.two))
		d.alive()
		d.send(1003, x("a"))
		d.one.reads(x("a"))
	})

	twoStreams(t, "B16.5-1 terminate of an unknown stream ends no other", manyStreams, func(b *bench, d *duo) {
		d.send(1002, "type='terminate' stream='bogus'").getsNow(condition(bosh.ItemNotFound))
		d.gone()
	})

	twoStreams(t, "B16.5-2 the last stream ends the session", manyStreams, func(b *bench, d *duo) {
		d.send(1002, "type='terminate' "+stream(d.two)).getsNow(endOf(d.two))
		d.send(1003, "type='terminate' "+stream(d.one)).getsNow(end)
		d.gone()
	})

	twoStreams(t, "B16.5-2 also when the application closes it", manyStreams, func(b *bench, d *duo) {
		held := d.send(1002)
		require.NoError(b, d.one.Close())
		held.getsNow(endOf(d.one))
		require.NoError(b, d.two.Close())
		d.send(1003).getsNow(end)
		d.gone()
	})

	twoStreams(t, "B16.5-3 terminate without a stream ends all", manyStreams, func(b *bench, d *duo) {
		d.send(1002, "type='terminate'", x("bye")).getsNow(end)
		for _, a := range []*app{d.one, d.two} {
			a.reads(x("bye"))
			assert.Equal(b, io.EOF, a.ended())
		}
		d.gone()
	})

	failed := &bosh.Error{Condition: bosh.RemoteConnectionFailed}
	twoStreams(t, "B16.6-1 a stream that fails leaves the others", manyStreams, func(b *bench, d *duo) {
		held := d.send(1002)
		require.NoError(b, d.two.CloseWithError(failed))
		held.getsNow(endOf(d.two, "condition='remote-connection-failed'"))
		c := d.send(1003, x("a"))
		d.one.reads(x("a"))
		d.one.writes(x("b"))
		c.getsNow(answerOf(d.one, x("b")))
	})

	refusing := manyStreams
	refusing.Admit = func(ctx context.Context, _ *http.Request, o *bosh.Opening) (context.Context, error) {
		if o.To == "nowhere.example" {
			return nil, &bosh.Error{Condition: bosh.HostUnknown}
		}
		return ctx, nil
	}
	custom(t, "B16.6-1 a stream that is refused leaves the others", refusing, stdAttrs, func(b *bench, s *session) {
		c := s.send(1001, "to='nowhere.example'")
		assert.Equal(b, "host-unknown", c.body().Attr("condition"))
		assert.NotEmpty(b, c.body().Attr("stream"))
		s.send(1002, x("a"))
		s.app.reads(x("a"))
		assert.Len(b, s.app.Session().Streams(), 1)
	})

	twoStreams(t, "B16.6-2 an error without stream ends all", manyStreams, func(b *bench, d *duo) {
		c := d.send(1009)
		c.getsNow(condition(bosh.ItemNotFound))
		assert.Error(b, d.one.ended())
		assert.Error(b, d.two.ended())
		d.gone()
	})

	twoStreams(t, "B16.6-2 Terminate ends all, and what they wrote goes before", manyStreams, func(b *bench, d *duo) {
		d.one.writes(x("1"))
		d.two.writes(x("2"))
		require.NoError(b, d.one.Session().Terminate(failed))
		d.send(1002).getsNow(answerOf(d.one, x("1")))
		d.send(1003).getsNow(answerOf(d.two, x("2")))
		d.send(1004).getsNow(condition(bosh.RemoteConnectionFailed))
		assert.Error(b, d.one.ended())
		assert.Error(b, d.two.ended())
	})
}

// The context that Admit returns for a further stream ends that stream, and the one of
// the session all of them.
func TestContextsOfStreams(t *testing.T) {
	expired := errors.New("expired")
	var log *journal
	timed := func(forFirst, forSecond time.Duration) bosh.Options {
		first := true
		o := manyStreams
		log = &journal{level: slog.LevelInfo}
		o.Logger = slog.New(log)
		o.Admit = func(ctx context.Context, _ *http.Request, _ *bosh.Opening) (context.Context, error) {
			limit := forSecond
			if first {
				limit = forFirst
			}
			first = false
			if limit == 0 {
				return ctx, nil
			}
			ctx, cancel := context.WithTimeoutCause(ctx, limit, expired)
			t.Cleanup(cancel)
			return ctx, nil
		}
		return o
	}
	twoStreams(t, "of the second", timed(0, 20*time.Second), func(b *bench, d *duo) {
		held := d.send(1002)
		held.waits()
		b.wait(20*time.Second - 1)
		held.waits()
		b.wait(1)
		held.getsNow(endOf(d.two, "condition='policy-violation'"))
		assert.ErrorIs(b, d.two.ended(), expired)
		assert.Equal(b, expired, context.Cause(d.two.Context()))
		assert.NoError(b, d.one.Context().Err())
		d.send(1003, stream(d.two), x("late"))
		d.two.reads("")
		d.send(1004, stream(d.one), x("1"))
		d.one.reads(x("1"))
		d.alive()
		require.Len(b, log.of("bosh: stream ends"), 1)
		assert.Contains(b, log.of("bosh: stream ends")[0].attrs["cause"], "expired")
	})
	twoStreams(t, "of the second, which has ended before", timed(0, 20*time.Second), func(b *bench, d *duo) {
		require.NoError(b, d.two.Close())
		d.send(1002).getsNow(endOf(d.two))
		d.send(1003).getsAfter(patience, empty)
		d.alive()
	})
	twoStreams(t, "of the second, which is the last", timed(0, 20*time.Second), func(b *bench, d *duo) {
		require.NoError(b, d.one.Close())
		d.send(1002).getsNow(endOf(d.one))
		held := d.send(1003)
		held.getsAfter(20*time.Second, condition(bosh.PolicyViolation))
		assert.ErrorIs(b, d.two.Session().Err(), expired)
	})
	for _, second := range []time.Duration{0, time.Hour} {
		twoStreams(t, "of the session "+second.String(), timed(20*time.Second, second), func(b *bench, d *duo) {
			held := d.send(1002)
			held.getsAfter(20*time.Second, condition(bosh.PolicyViolation))
			assert.ErrorIs(b, d.one.ended(), expired)
			assert.ErrorIs(b, d.two.ended(), expired)
			d.gone()
			assert.Empty(b, log.of("bosh: stream ends"))
			require.Len(b, log.of("bosh: session ends"), 1)
		})
	}
}

// A context that panics, as a nil pointer in an interface does, refuses a stream like a
// panic of Admit. The session goes on. XEP-0124, section 16.3.
func TestStreamsOfBadContexts(t *testing.T) {
	bad := func(o *bosh.Options) {
		o.MaxStreams = 2
		o.Admit = func(ctx context.Context, _ *http.Request, o *bosh.Opening) (context.Context, error) {
			if o.To == "example.net" {
				return fragileContext{ctx, func() { panic("a bug") }}, nil
			}
			return nil, nil
		}
	}
	custom(t, "it panics", with(bad), stdAttrs, func(b *bench, s *session) {
		body := s.send(1001, "to='example.net'").body()
		assert.Equal(b, "terminate", body.Attr("type"))
		assert.Equal(b, string(bosh.InternalServerError), body.Attr("condition"))
		assert.NotEmpty(b, body.Attr("stream"))
		s.app.writes(x("a"))
		s.send(1002, stream(s.app)).body()
		assert.NoError(b, s.app.Session().Err())
	})
}

// Admit is asked about a further stream by the request as it came, although the
// Handler may have returned and middleware gone on. XEP-0124, section 16.3.
func TestStreamsOfRequestsThatAreOver(t *testing.T) {
	for _, isDirect := range []bool{false, true} {
		t.Run(fmt.Sprint("Direct ", isDirect), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked, decide := make(chan *http.Request, 2), make(chan struct{})
				h := withEngine(t, with(func(o *bosh.Options) {
					o.MaxStreams = 2
					o.Admit = func(_ context.Context, r *http.Request, o *bosh.Opening) (context.Context, error) {
						if o.To == "second.test" {
							<-decide
						}
						asked <- r
						return nil, nil
					}
				}), isDirect)
				p := dial(t, boshtest.InMemory(h))
				<-asked
				l := wrapped(t, h, func(next http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						defer func() {
							r.Header.Set("X-User", "another")
							r.URL.Path = "/elsewhere"
						}()
						next.ServeHTTP(w, r)
					})
				})
				text := rawRequest(p.body(1001, "", "to='second.test'"))
				l.says(strings.Replace(text, "Host:", "X-User: me\r\nHost:", 1))
				synctest.Wait()
				l.Close()
				synctest.Wait()
				close(decide)
				r := <-asked
				assert.Equal(t, "me", r.Header.Get("X-User"))
				assert.Equal(t, "/http-bind", r.URL.Path)
			})
		})
	}
}
