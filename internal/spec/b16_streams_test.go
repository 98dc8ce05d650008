package spec_test

import (
	"bytes"
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
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A duo is a session of two streams, whose next rid is 1002.
type duo struct {
	*Session
	one, two *App
	opened   *Call // what opened the second
}

// twoStreams runs f with a duo.
func twoStreams(t *testing.T, name string, o bosh.Options, f func(b *Harness, d *duo)) {
	t.Helper()
	Custom(t, name, o, StdAttrs, func(b *Harness, s *Session) {
		d := &duo{Session: s, one: s.App}
		d.opened = s.Send(1001, "to='example.net'")
		d.two = b.App(-1)
		require.NotSame(b, d.one, d.two)
		f(b, d)
	})
}

// stream is the attribute that names the stream of a.
func stream(a *App) string { return "stream='" + a.Name() + "'" }

// answerOf is an answer with payloads of the stream of a.
func answerOf(a *App, payload string) string {
	return "<body " + stream(a) + ">" + payload + "</body>"
}

// endOf is the answer that tells the end of the stream of a.
func endOf(a *App, attrs ...string) string {
	all := "type='terminate' " + stream(a)
	for _, attr := range attrs {
		all += " " + attr
	}
	return "<body " + all + "/>"
}

// XEP-0124, section 16: multiple streams, switched off.
func TestStreamsOff(t *testing.T) {
	Std(t, "B16.1-1 B16.2-1 no stream is named", func(b *Harness, s *Session) {
		_, ok := s.Granted.Lookup("stream")
		assert.False(b, ok)
		c := s.Send(1001)
		s.App.Writes(X("a"))
		c.GetsNow(Answer(X("a")))
	})

	Std(t, "B16.3-1 a request for a stream is an empty one", func(b *Harness, s *Session) {
		c := s.Send(1001, "to='example.net' route='xmpp:example.net:5222' xml:lang='de'")
		b.Wait(2 * time.Second)
		c.Waits()
		s.App.Writes(X("a"))
		c.GetsNow(Answer(X("a")))
		assert.Same(b, s.App, b.App(-1), "a second stream")
		assert.Equal(b, "example.com", s.App.Opening().To)
	})

	Std(t, "B16.1-1 a stream in a request means nothing", func(b *Harness, s *Session) {
		s.Send(1001, "stream='bogus'", X("a")).Waits()
		s.App.Reads(X("a"))
		s.Send(1002, "stream='bogus' type='terminate'")
		assert.Equal(b, io.EOF, s.App.Ended())
		s.Gone()
	})
}

// XEP-0124, sections 16.2 and 16.3: discovering and adding streams.
func TestStreamsAdded(t *testing.T) {
	Custom(t, "B16.2-1 the creation names the first stream", ManyStreams, StdAttrs, func(b *Harness, s *Session) {
		assert.NotEmpty(b, s.Granted.Attr("stream"))
		assert.Equal(b, s.App.Name(), s.Granted.Attr("stream"))
	})

	Custom(t, "B16.2-1 alone it is not named again", ManyStreams, StdAttrs, func(b *Harness, s *Session) {
		c := s.Send(1001)
		s.App.Writes(X("a"))
		c.GetsNow(Answer(X("a")))
		s.Send(1002, "type='terminate' "+stream(s.App)).GetsNow(End)
		s.Gone()
	})

	two := With(func(o *bosh.Options) {
		o.MaxStreams, o.Hold = 3, 2
		o.Admit = func(ctx context.Context, _ *http.Request, op *bosh.Opening) (context.Context, error) {
			if op.To == "example.net" {
				op.Framing = bosh.XMPP // so that its opening waits for output
			}
			return ctx, nil
		}
	})
	Custom(t, "B16.3-2 the answer to the opening speaks first for the stream", two, "to='example.com' hold='2' wait='60' ver='1.11'", func(b *Harness, s *Session) {
		older := s.Send(1001)
		opening := s.Send(1002, "to='example.net'")
		b.App(-1).Writes("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>" + X("a"))
		older.GetsNow(Empty)
		assert.Equal(b, b.App(-1).Name(), opening.Body().Attr("stream"))
		assert.Equal(b, X("a"), string(opening.Body().Payloads[0]))
	})

	Bubble(t, "B16.2-2 names are unpredictable and unique", With(func(o *bosh.Options) { o.MaxStreams = 64 }), func(b *Harness) {
		seen := make(map[string]bool)
		const sessions = 30
		for range sessions {
			s := b.Create()
			seen[s.Granted.Attr("stream")] = true
			for rid := int64(1001); rid < 1064; rid++ {
				name := s.Send(rid, "to='example.net'").Body().Attr("stream")
				assert.GreaterOrEqual(b, len(name), 26, "less than 128 bits")
				seen[name] = true
			}
			assert.NotContains(b, seen, s.Sid)
		}
		assert.Len(b, seen, sessions*64)
	})

	twoStreams(t, "B16.3-2 a request with to opens a stream", ManyStreams, func(b *Harness, d *duo) {
		d.opened.GetsNow("<body from='example.net' " + stream(d.two) + "/>")
		assert.NotEqual(b, d.one.Name(), d.two.Name())
		assert.Equal(b, "example.net", d.two.Opening().To)
		assert.Same(b, d.one.Session(), d.two.Session())
		assert.Len(b, d.two.Session().Streams(), 2)
	})

	Custom(t, "B16.3-2 its repeat opens no other", ManyStreams, StdAttrs, func(b *Harness, s *Session) {
		first := s.Send(1001, "to='example.net'")
		repeat := s.Send(1001, "to='example.net'")
		repeat.GetsNow("<body from='example.net' " + stream(b.App(1)) + "/>")
		assert.Equal(b, first.Answer().Body, repeat.Answer().Body)
		assert.Len(b, s.App.Session().Streams(), 2)
	})

	Custom(t, "B16.3-3 the answer has nothing of a creation", With(func(o *bosh.Options) { o.MaxStreams, o.NoAcks = 2, false }),
		StdAttrs, func(b *Harness, s *Session) {
			c := s.Send(1001, "to='example.net'")
			for _, a := range c.Body().Attrs {
				assert.Contains(b, []string{"stream", "from", "xmlns", "ack"}, a.Name)
			}
		})

	late := ManyStreams
	late.Admit = func(ctx context.Context, _ *http.Request, o *bosh.Opening) (context.Context, error) {
		if o.To == "late.example" {
			select {
			case <-time.After(90 * time.Second):
			case <-ctx.Done():
			}
		}
		return ctx, nil
	}
	Custom(t, "B16.3-4 a stream admitted late is named along with from", late, StdAttrs, func(b *Harness, s *Session) {
		c := s.Send(1001, "to='late.example'")
		c.GetsAfter(Patience, Empty)
		c = s.Send(1002, X("a"))
		s.App.Reads(X("a"))
		c.Waits()
		b.Wait(90*time.Second - Patience)
		c.GetsNow("<body from='late.example' " + stream(b.App(1)) + "/>")
	})

	Custom(t, "B16.3-4 also if the request was lost meanwhile", late, StdAttrs, func(b *Harness, s *Session) {
		s.Send(1001, "to='late.example'").Breaks()
		b.Wait(time.Second)
		s.Send(1002, X("a")).GetsAfter(Patience, Empty)
		c := s.Send(1003)
		c.Waits()
		b.Wait(89*time.Second - Patience)
		c.GetsNow("<body from='late.example' " + stream(b.App(1)) + "/>")
	})

	Custom(t, "B16.3-5 ver content hold and wait are ignored", ManyStreams, StdAttrs, func(b *Harness, s *Session) {
		c := s.Send(1001, "to='example.net' ver='1.6' content='text/html' hold='5' wait='1'")
		c.GetsNow("<body from='example.net' " + stream(b.App(1)) + "/>")
		assert.Equal(b, "text/xml; charset=utf-8", c.Answer().Head.Get("Content-Type"))
		c = s.Send(1002)
		c.GetsAfter(Patience, Empty)
		first := s.Send(1003, X("a"))
		first.Waits()
		s.Send(1004, X("b"))
		first.GetsNow(Empty)
	})

	Custom(t, "B16.3-2 no more of them than MaxStreams", ManyStreams, StdAttrs, func(b *Harness, s *Session) {
		s.Send(1001, "to='example.net'")
		s.Send(1002, "to='example.net'")
		refused := s.Send(1003, "to='example.net'")
		body := refused.Body()
		assert.Equal(b, "terminate", body.Attr("type"))
		assert.Equal(b, "policy-violation", body.Attr("condition"))
		assert.NotEmpty(b, body.Attr("stream"))
		assert.Len(b, s.App.Session().Streams(), 3)
		s.Send(1004, "type='terminate' "+stream(s.App))
		s.Send(1005, "to='example.net'").GetsNow("<body from='example.net' " + stream(b.App(3)) + "/>")
	})
}

// XEP-0124, section 16.4: transmitting payloads.
func TestStreamsPayloads(t *testing.T) {
	twoStreams(t, "B16.4-1 each answer is of one stream and names it", ManyStreams, func(b *Harness, d *duo) {
		_, err := io.WriteString(d.one, X("1"))
		require.NoError(b, err)
		_, err = io.WriteString(d.two, X("2"))
		require.NoError(b, err)
		d.Send(1002).GetsNow(answerOf(d.one, X("1")))
		d.Send(1003).GetsNow(answerOf(d.two, X("2")))
	})

	twoStreams(t, "B16.4-1 every stream has its turn", ManyStreams, func(b *Harness, d *duo) {
		for i := range 6 {
			d.one.Writes(X("1"))
			d.two.Writes(X("2"))
			want := answerOf(d.one, X("1"))
			if i == 0 {
				d.Send(1002).GetsNow(want)
			}
			if i%2 == 0 {
				c := d.Send(int64(1003 + i))
				name := c.Body().Attr("stream")
				assert.Equal(b, d.two.Name(), name)
				continue
			}
			assert.Equal(b, d.one.Name(), d.Send(int64(1003+i)).Body().Attr("stream"))
		}
	})

	twoStreams(t, "B16.4-2 payloads without stream go to all", ManyStreams, func(b *Harness, d *duo) {
		d.Send(1002, X("a"), X("b"))
		d.one.Reads(X("a") + X("b"))
		d.two.Reads(X("a") + X("b"))
	})

	twoStreams(t, "B16.4-3 payloads with stream go to that one", ManyStreams, func(b *Harness, d *duo) {
		c := d.Send(1002, stream(d.two), X("a"))
		d.one.Reads("")
		d.two.Reads(X("a"))
		d.one.Writes(X("b"))
		c.GetsNow(answerOf(d.one, X("b")))
	})

	twoStreams(t, "B16.4-4 an unknown stream is item-not-found", ManyStreams, func(b *Harness, d *duo) {
		d.Send(1002, "stream='bogus'", X("a")).GetsNow(Condition(bosh.ItemNotFound))
		d.one.Reads("")
		d.two.Reads("")
		d.Gone()
		assert.Error(b, d.one.Ended())
		assert.Error(b, d.two.Ended())
	})

	twoStreams(t, "B16.4-5 payloads for a stream just closed are dropped", ManyStreams, func(b *Harness, d *duo) {
		held := d.Send(1002)
		require.NoError(b, d.two.Close())
		held.GetsNow(endOf(d.two))
		c := d.Send(1003, stream(d.two), X("late"))
		c.Waits()
		d.one.Reads("")
		d.one.Writes(X("a"))
		c.GetsNow(answerOf(d.one, X("a")))
	})

	twoStreams(t, "B16.4-5 also before the client knows", ManyStreams, func(b *Harness, d *duo) {
		require.NoError(b, d.two.Close())
		d.Send(1002, stream(d.two), X("late")).GetsNow(endOf(d.two))
		d.one.Reads("")
		d.Send(1003, stream(d.one), X("a"))
		d.one.Reads(X("a"))
	})

	twoStreams(t, "B16.4-5 and for one that the client has closed", ManyStreams, func(b *Harness, d *duo) {
		early := d.Send(1003, stream(d.two), X("late"))
		d.Send(1002, "type='terminate' "+stream(d.two)).GetsNow(endOf(d.two))
		early.Waits()
		d.two.Reads("")
		d.one.Reads("")
		d.Alive()
	})

	twoStreams(t, "B16.4-6 empty bodies carry no stream", ManyStreams, func(b *Harness, d *duo) {
		d.Send(1002).GetsAfter(Patience, Empty)
		c := d.Send(1003, "stream='bogus'")
		c.GetsAfter(Patience, Empty)
		d.Alive()
	})

	twoStreams(t, "B16.4-7 rids and timers are the session's", ManyStreams, func(b *Harness, d *duo) {
		second := d.Send(1003, stream(d.two), X("2"))
		second.Waits()
		d.two.Reads("")
		first := d.Send(1002, stream(d.one), X("1"))
		d.one.Reads(X("1"))
		d.two.Reads(X("2"))
		first.GetsNow(Empty) // hold is 1 for both together
		second.GetsAfter(Patience, Empty)
		d.Send(1003, stream(d.two), X("2")).GetsNow(Empty)
		d.Send(1006, stream(d.one)).GetsNow(Condition(bosh.ItemNotFound))
		assert.Error(b, d.one.Ended())
		assert.Error(b, d.two.Ended())
	})

	twoStreams(t, "B16.4-7 so is inactivity", ManyStreams, func(b *Harness, d *duo) {
		d.Send(1002, stream(d.one), X("1")).GetsAfter(Patience, Empty)
		b.Wait(30*time.Second + Overtime)
		d.Gone()
		assert.Error(b, d.two.Ended())
	})

	twoStreams(t, "B16.4-1 what a stream hands back is its own", ManyStreams, func(b *Harness, d *duo) {
		d.one.Writes(X("1"))
		d.two.Writes(X("2"))
		d.Send(1002).GetsNow(answerOf(d.one, X("1")))
		b.Wait(30*time.Second + Overtime)
		assert.Equal(b, []string{X("1") + "*"}, d.one.Lost())
		assert.Equal(b, []string{X("2")}, d.two.Lost())
	})

	Custom(t, "B16.4-1 also what was sent before there was another", ManyStreams, StdAttrs, func(b *Harness, s *Session) {
		c := s.Send(1001)
		s.App.Writes(X("1"))
		c.GetsNow(Answer(X("1")))
		s.Send(1002, "to='example.net'")
		two := b.App(1)
		b.Wait(30*time.Second + Overtime)
		assert.Equal(b, []string{X("1") + "*"}, s.App.Lost())
		assert.Empty(b, two.Lost())
	})
}

// XEP-0124, sections 16.5 and 16.6: ends and errors of streams.
func TestStreamsEnd(t *testing.T) {
	twoStreams(t, "B16.5-1 terminate with a stream closes that one", ManyStreams, func(b *Harness, d *duo) {
		held := d.Send(1002)
		c := d.Send(1003, "type='terminate' "+stream(d.two), X("bye"))
		held.GetsNow(endOf(d.two))
		c.Waits()
		d.two.Reads(X("bye"))
		assert.Equal(b, io.EOF, d.two.Ended())
		d.one.Reads("")
		assert.Error(b, d.two.Context().Err())
		require.NoError(b, d.one.Context().Err())

		d.one.Writes(X("a"))
		c.GetsNow(answerOf(d.one, X("a")))
		d.Send(1004, stream(d.one), X("b"))
		d.one.Reads(X("b"))
		assert.Equal(b, []*bosh.Stream{d.one.Stream}, d.one.Session().Streams())
	})

	twoStreams(t, "B16.5-1 what it had written goes along", ManyStreams, func(b *Harness, d *duo) {
		d.two.Writes(X("last"))
		d.Send(1002, "type='terminate' "+stream(d.two)).
			GetsNow("<body type='terminate' " + stream(d.two) + ">" + X("last") + "</body>")
	})

	twoStreams(t, "B16.5-1 all that it had written comes before its end", ManyStreams, func(b *Harness, d *duo) {
		var want, got string
		for i := range 9 {
			want += X(fmt.Sprint(i))
			d.two.Writes(X(fmt.Sprint(i)))
		}
		require.NoError(b, d.two.Close())
		for rid, ended := int64(1002), false; !ended; rid++ {
			require.Less(b, rid, int64(1100), "no end")
			body := d.Send(rid).Body()
			require.Equal(b, d.two.Name(), body.Attr("stream"))
			got += string(bytes.Join(body.Payloads, nil))
			ended = body.Attr("type") == "terminate"
		}
		assert.Equal(b, want, got)
		d.Alive()
	})

	twoStreams(t, "B16.5-1 a second terminate crosses the first", ManyStreams, func(b *Harness, d *duo) {
		held := d.Send(1002)
		require.NoError(b, d.two.Close())
		held.GetsNow(endOf(d.two))
		d.Send(1003, "type='terminate' "+stream(d.two)).Waits()
		d.Alive()
		d.one.Writes(X("a"))
	})

	twoStreams(t, "B16.5-1 or comes before the end was told", ManyStreams, func(b *Harness, d *duo) {
		require.NoError(b, d.two.Close())
		d.Send(1002, "type='terminate' "+stream(d.two)).GetsNow(endOf(d.two))
		d.Alive()
		d.Send(1003, X("a"))
		d.one.Reads(X("a"))
	})

	twoStreams(t, "B16.5-1 terminate of an unknown stream ends no other", ManyStreams, func(b *Harness, d *duo) {
		d.Send(1002, "type='terminate' stream='bogus'").GetsNow(Condition(bosh.ItemNotFound))
		d.Gone()
	})

	twoStreams(t, "B16.5-2 the last stream ends the session", ManyStreams, func(b *Harness, d *duo) {
		d.Send(1002, "type='terminate' "+stream(d.two)).GetsNow(endOf(d.two))
		d.Send(1003, "type='terminate' "+stream(d.one)).GetsNow(End)
		d.Gone()
	})

	twoStreams(t, "B16.5-2 also when the application closes it", ManyStreams, func(b *Harness, d *duo) {
		held := d.Send(1002)
		require.NoError(b, d.one.Close())
		held.GetsNow(endOf(d.one))
		require.NoError(b, d.two.Close())
		d.Send(1003).GetsNow(End)
		d.Gone()
	})

	twoStreams(t, "B16.5-3 terminate without a stream ends all", ManyStreams, func(b *Harness, d *duo) {
		d.Send(1002, "type='terminate'", X("bye")).GetsNow(End)
		for _, a := range []*App{d.one, d.two} {
			a.Reads(X("bye"))
			assert.Equal(b, io.EOF, a.Ended())
		}
		d.Gone()
	})

	failed := &bosh.Error{Condition: bosh.RemoteConnectionFailed}
	twoStreams(t, "B16.6-1 a stream that fails leaves the others", ManyStreams, func(b *Harness, d *duo) {
		held := d.Send(1002)
		require.NoError(b, d.two.CloseWithError(failed))
		held.GetsNow(endOf(d.two, "condition='remote-connection-failed'"))
		c := d.Send(1003, X("a"))
		d.one.Reads(X("a"))
		d.one.Writes(X("b"))
		c.GetsNow(answerOf(d.one, X("b")))
	})

	refusing := ManyStreams
	refusing.Admit = func(ctx context.Context, _ *http.Request, o *bosh.Opening) (context.Context, error) {
		if o.To == "nowhere.example" {
			return nil, &bosh.Error{Condition: bosh.HostUnknown}
		}
		return ctx, nil
	}
	Custom(t, "B16.6-1 a stream that is refused leaves the others", refusing, StdAttrs, func(b *Harness, s *Session) {
		c := s.Send(1001, "to='nowhere.example'")
		assert.Equal(b, "host-unknown", c.Body().Attr("condition"))
		assert.NotEmpty(b, c.Body().Attr("stream"))
		s.Send(1002, X("a"))
		s.App.Reads(X("a"))
		assert.Len(b, s.App.Session().Streams(), 1)
	})

	twoStreams(t, "B16.6-2 an error without stream ends all", ManyStreams, func(b *Harness, d *duo) {
		c := d.Send(1009)
		c.GetsNow(Condition(bosh.ItemNotFound))
		assert.Error(b, d.one.Ended())
		assert.Error(b, d.two.Ended())
		d.Gone()
	})

	twoStreams(t, "B16.6-2 Terminate ends all, and what they wrote goes before", ManyStreams, func(b *Harness, d *duo) {
		d.one.Writes(X("1"))
		d.two.Writes(X("2"))
		require.NoError(b, d.one.Session().Terminate(failed))
		d.Send(1002).GetsNow(answerOf(d.one, X("1")))
		d.Send(1003).GetsNow(answerOf(d.two, X("2")))
		d.Send(1004).GetsNow(Condition(bosh.RemoteConnectionFailed))
		assert.Error(b, d.one.Ended())
		assert.Error(b, d.two.Ended())
	})
}

// The context that Admit returns for a further stream ends that stream, and the one of
// the session all of them.
func TestContextsOfStreams(t *testing.T) {
	expired := errors.New("expired")
	var log *Journal
	timed := func(forFirst, forSecond time.Duration) bosh.Options {
		first := true
		o := ManyStreams
		log = &Journal{Level: slog.LevelInfo}
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
	twoStreams(t, "of the second", timed(0, 20*time.Second), func(b *Harness, d *duo) {
		held := d.Send(1002)
		held.Waits()
		b.Wait(20*time.Second - 1)
		held.Waits()
		b.Wait(1)
		held.GetsNow(endOf(d.two, "condition='policy-violation'"))
		assert.ErrorIs(b, d.two.Ended(), expired)
		assert.Equal(b, expired, context.Cause(d.two.Context()))
		assert.NoError(b, d.one.Context().Err())
		d.Send(1003, stream(d.two), X("late"))
		d.two.Reads("")
		d.Send(1004, stream(d.one), X("1"))
		d.one.Reads(X("1"))
		d.Alive()
		require.Len(b, log.Of("bosh: stream ends"), 1)
		assert.Contains(b, log.Of("bosh: stream ends")[0].Attrs["cause"], "expired")
	})
	twoStreams(t, "of the second, which has ended before", timed(0, 20*time.Second), func(b *Harness, d *duo) {
		require.NoError(b, d.two.Close())
		d.Send(1002).GetsNow(endOf(d.two))
		d.Send(1003).GetsAfter(Patience, Empty)
		d.Alive()
	})
	twoStreams(t, "of the second, which is the last", timed(0, 20*time.Second), func(b *Harness, d *duo) {
		require.NoError(b, d.one.Close())
		d.Send(1002).GetsNow(endOf(d.one))
		held := d.Send(1003)
		held.GetsAfter(20*time.Second, Condition(bosh.PolicyViolation))
		assert.ErrorIs(b, d.two.Session().Err(), expired)
	})
	for _, second := range []time.Duration{0, time.Hour} {
		twoStreams(t, "of the session "+second.String(), timed(20*time.Second, second), func(b *Harness, d *duo) {
			held := d.Send(1002)
			held.GetsAfter(20*time.Second, Condition(bosh.PolicyViolation))
			assert.ErrorIs(b, d.one.Ended(), expired)
			assert.ErrorIs(b, d.two.Ended(), expired)
			d.Gone()
			assert.Empty(b, log.Of("bosh: stream ends"))
			require.Len(b, log.Of("bosh: session ends"), 1)
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
				return FragileContext{Context: ctx, F: func() { panic("a bug") }}, nil
			}
			return nil, nil
		}
	}
	Custom(t, "it panics", With(bad), StdAttrs, func(b *Harness, s *Session) {
		body := s.Send(1001, "to='example.net'").Body()
		assert.Equal(b, "terminate", body.Attr("type"))
		assert.Equal(b, string(bosh.InternalServerError), body.Attr("condition"))
		assert.NotEmpty(b, body.Attr("stream"))
		s.App.Writes(X("a"))
		s.Send(1002, stream(s.App)).Body()
		assert.NoError(b, s.App.Session().Err())
	})
}

// Admit is asked about a further stream by the request as it came, although the
// Handler may have returned and middleware gone on. XEP-0124, section 16.3.
func TestStreamsOfRequestsThatAreOver(t *testing.T) {
	for _, isDirect := range []bool{false, true} {
		t.Run(fmt.Sprint("Direct ", isDirect), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked, decide := make(chan *http.Request, 2), make(chan struct{})
				h := WithEngine(t, With(func(o *bosh.Options) {
					o.MaxStreams = 2
					o.Admit = func(_ context.Context, r *http.Request, o *bosh.Opening) (context.Context, error) {
						if o.To == "second.test" {
							<-decide
						}
						asked <- r
						return nil, nil
					}
				}), isDirect)
				p := Dial(t, boshtest.InMemory(h))
				<-asked
				l := Wrapped(t, h, func(next http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						defer func() {
							r.Header.Set("X-User", "another")
							r.URL.Path = "/elsewhere"
						}()
						next.ServeHTTP(w, r)
					})
				})
				text := RawRequest(p.Body(1001, "", "to='second.test'"))
				l.Says(strings.Replace(text, "Host:", "X-User: me\r\nHost:", 1))
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
