package bosh_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
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
				decl + strings.Repeat("u", 10<<10) + "'>" + strings.Repeat(name, 1000) + "</b:body>").
				getsNow(condition(bosh.BadRequest))
			s.app.reads("")
		})
	}
}

// Whatever keeps the answers coming, unread input has a limit.
func TestBugFlood(t *testing.T) {
	const body = 1 << 14
	for name, flood := range map[string]struct {
		parts  []string
		writes bool // the application does, to no end
	}{
		"by pauses":                     {[]string{"pause='1'", x(strings.Repeat("x", body/2))}, false},
		"of an application that writes": {[]string{x(strings.Repeat("x", body/2))}, true},
	} {
		o := with(func(o *bosh.Options) {
			o.MaxBody = body
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

// What a session keeps of the wrapper cannot be large.
func TestBugLargeTag(t *testing.T) {
	large := " x='" + strings.Repeat("x", 16<<10) + "'"
	bubble(t, "at the creation", stdOptions, func(b *bench) {
		b.post(complete("<body rid='1000' " + stdAttrs + large + "/>")).getsNow(condition(bosh.BadRequest))
	})
	std(t, "later", func(b *bench, s *session) {
		s.send(1001, large, x("")).getsNow(condition(bosh.BadRequest))
		s.app.reads("")
	})
}

// What is kept of a client that acknowledges includes its keys.
func TestBugLongKeys(t *testing.T) {
	seed := strings.Repeat("k", 1<<13)
	newkey := keySequence(seed, 1)[1]
	custom(t, "kept", stdOptions, stdAttrs+" ack='1' newkey='"+newkey+"'", func(b *bench, s *session) {
		var first string
		for rid := range int64(60) {
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

// A session that is closed as soon as it is known still answers its creation.
func TestBugClosedAtCreation(t *testing.T) {
	for name, end := range map[string]func(*bosh.Handler, *bosh.Session){
		"by the handler": func(h *bosh.Handler, _ *bosh.Session) { h.Close() },
		"by itself":      func(_ *bosh.Handler, s *bosh.Session) { s.Terminate(&bosh.Error{Condition: bosh.SystemShutdown}) },
	} {
		var b *bench
		o := with(func(o *bosh.Options) {
			o.Trace = &bosh.Trace{SessionStart: func(s *bosh.Session) { end(b.h, s) }}
			o.Serve = func(s *bosh.Stream) { <-s.Context().Done() }
		})
		bubble(t, name, o, func(bb *bench) {
			b = bb
			b.wait(time.Hour)
			b.post(complete(stdCreation)).getsNow(condition(bosh.SystemShutdown))
			assert.Equal(b, 0, b.h.Stats().Open)
			assert.NoError(b, b.h.Shutdown(b.Context()))
		})
	}
}

// A panic while a request is served leaves nothing behind.
func TestBugPanic(t *testing.T) {
	for name, trace := range map[string]*bosh.Trace{
		"when it was received": {Request: func(*bosh.Session, bosh.RequestInfo) { panic(http.ErrAbortHandler) }},
		"when it was answered": {Response: func(_ *bosh.Session, r bosh.ResponseInfo) {
			if r.Rid > 1000 {
				panic(http.ErrAbortHandler)
			}
		}},
	} {
		o := with(func(o *bosh.Options) { o.Trace = trace })
		custom(t, name, o, stdAttrs, func(b *bench, s *session) {
			s.send(1001)
			s.app.writes(x(""))
			s.send(1002, "pause='60'")
			assert.Equal(b, 0, s.app.Session().Stats().Open)
			b.wait(60*time.Second + overtime)
			assert.Error(b, s.app.Session().Err())
		})
	}
}

// A request whose context is ended by something in front of the Handler does
// not look as if it had been answered.
func TestBugTimeoutInFront(t *testing.T) {
	h := bosh.New(with(func(o *bosh.Options) {
		o.Framing = bosh.XMPP
		o.Serve = func(s *bosh.Stream) { <-s.Context().Done() }
	}))
	defer h.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), time.Millisecond)
		defer cancel()
		h.ServeHTTP(w, r.WithContext(ctx))
	}))
	defer srv.Close()
	r, err := http.Post(srv.URL, "text/xml", strings.NewReader(complete(stdCreation)))
	if err == nil {
		r.Body.Close()
	}
	assert.ErrorIs(t, err, io.EOF)
}

// What takes more attributes on the wire than it was written with is handed back.
func TestBugUndeliveredAttributes(t *testing.T) {
	var attrs, decls, names strings.Builder
	for i := range 60 {
		fmt.Fprintf(&attrs, " a%d=''", i)
		fmt.Fprintf(&decls, " xmlns:p%d='u%d'", i, i)
		fmt.Fprintf(&names, "<p%d:x/>", i)
	}
	o := with(func(o *bosh.Options) { o.Framing, o.CreateTimeout = bosh.XMPP, -1 })
	custom(t, "of the stream's root", o, stdAttrs, func(b *bench, s *session) {
		s.app.writes("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'" + decls.String() + ">")
		s.app.writes("<message" + attrs.String() + ">" + names.String() + "</message><message/>")
		c := s.send(1001)
		c.answer()
		s.app.writes("<presence/>")
		assert.NoError(b, s.app.Close())
		b.wait(time.Hour)
		lost := s.app.undelivered()
		require.Len(b, lost, 3)
		assert.Contains(b, lost[0], names.String()+"</message>*")
		assert.Equal(b, "<presence xmlns='jabber:client'/>", lost[2])
	})
}

// A request that ends the session ends it, whatever else it asks for.
func TestBugPauseAndTerminate(t *testing.T) {
	std(t, "in one request", func(b *bench, s *session) {
		s.send(1001, "pause='60'", "type='terminate'").getsNow(end)
		assert.Equal(b, io.EOF, s.app.Session().Err())
	})
}

// The header of the first request is kept, and so it counts.
func TestBugLargeHeader(t *testing.T) {
	bubble(t, "counted", with(func(o *bosh.Options) { o.MaxMemory = 100 << 10 }), func(b *bench) {
		b.headers.Set("Cookie", strings.Repeat("x", 60<<10))
		first := b.create()
		b.create()
		b.post(complete(stdCreation)).getsNow(condition(bosh.PolicyViolation))
		first.send(1001, "type='terminate'").getsNow(end)
		b.wait(30 * time.Second) // until it is forgotten
		b.create()
	})
}

// A stream whose opening was not answered, since its connection broke, is told of
// behind a restart of another.
func TestBugRestartBehindOpening(t *testing.T) {
	o := with(func(o *bosh.Options) { o.Framing, o.CreateTimeout, o.MaxStreams = bosh.XMPP, -1, 2 })
	o.Admit = func(_ context.Context, _ *http.Request, op *bosh.Opening) (context.Context, error) {
		if op.To == "example.net" {
			time.Sleep(time.Second)
		}
		return nil, nil
	}
	custom(t, "orphaned", o, stdAttrs, func(b *bench, s *session) {
		b.app(0).writes(serverHeader + success)
		s.send(1001).answer()
		opening := s.send(1002, "to='example.net'")
		opening.breaks()
		b.wait(time.Second)
		name := b.app(-1).Name()
		s.send(1003, "xmpp:restart='true'", "stream='"+s.granted.Attr("stream")+"'").
			getsNow("<body stream='" + name + "' from='example.net'/>")
	})
}
