package spec_test

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
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What once went wrong.

// What payloads take from the wrapper is what is in force there, and cannot be
// made a multiple of the request.
func TestBugDeclarations(t *testing.T) {
	Std(t, "the default namespace of a wrapper with a prefix", func(b *Harness, s *Session) {
		start := "<b:body xmlns:b='" + boshtest.NSBind + "' sid='" + s.Sid + "' rid="
		b.Post(start + "'1001' xmlns='urn:x'><a/></b:body>")
		s.App.Reads("<a xmlns='urn:x'/>")
		b.Post(start + "'1002'><a/></b:body>")
		s.App.Reads("<a xmlns=''/>")
		b.Post(start + "'1003' xmlns='" + boshtest.NSBind + "'><a/></b:body>")
		s.App.Reads("<a xmlns='" + boshtest.NSBind + "'/>")
	})
	xmpp := With(func(o *bosh.Options) { o.Framing, o.CreateTimeout = bosh.XMPP, -1 })
	Custom(t, "in XMPP", xmpp, StdAttrs, func(b *Harness, s *Session) {
		s.App.Text()
		b.Post("<b:body xmlns:b='" + boshtest.NSBind + "' sid='" + s.Sid + "' rid='1001' xmlns='urn:x'><message/></b:body>")
		s.App.Reads("<message xmlns='urn:x'/>")
	})
	for _, prefix := range []string{"p", ""} {
		Std(t, "many times a long one", func(b *Harness, s *Session) {
			decl, name := " xmlns='", "<a/>"
			if prefix != "" {
				decl, name = " xmlns:p='", "<p:a/>"
			}
			b.Post("<b:body xmlns:b='" + boshtest.NSBind + "' sid='" + s.Sid + "' rid='1001'" +
				decl + strings.Repeat("u", 10<<10) + "'>" + strings.Repeat(name, 1000) + "</b:body>").
				GetsNow(Condition(bosh.BadRequest))
			s.App.Reads("")
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
		"by pauses":                     {[]string{"pause='1'", X(strings.Repeat("x", body/2))}, false},
		"of an application that writes": {[]string{X(strings.Repeat("x", body/2))}, true},
	} {
		o := With(func(o *bosh.Options) {
			o.MaxBody = body
			o.Serve = func(st *bosh.Stream) { <-st.Context().Done() }
		})
		Bubble(t, name, o, func(b *Harness) {
			s := &Session{B: b, Sid: b.Post(Complete(StdCreation)).Body().Attr("sid")}
			var peak int
			var last *Call
			for rid := range int64(100) {
				for live := range b.H.Sessions() {
					peak = max(peak, live.Stats().Unread)
					if flood.writes {
						require.NoError(b, live.Streams()[0].WriteElement(b.Context(), []byte(X("y"))))
					}
				}
				if peak > 10*body {
					break
				}
				last = s.Send(1001+rid, flood.parts...)
			}
			assert.Less(b, peak, 10*body)
			last.Gets(Condition(bosh.ItemNotFound))
			assert.Equal(b, int64(1), b.H.Stats().Ended[string(bosh.PolicyViolation)])
		})
	}
}

// What a session keeps of the wrapper cannot be large.
func TestBugLargeTag(t *testing.T) {
	large := " x='" + strings.Repeat("x", 16<<10) + "'"
	Bubble(t, "at the creation", StdOptions, func(b *Harness) {
		b.Post(Complete("<body rid='1000' " + StdAttrs + large + "/>")).GetsNow(Condition(bosh.BadRequest))
	})
	Std(t, "later", func(b *Harness, s *Session) {
		s.Send(1001, large, X("")).GetsNow(Condition(bosh.BadRequest))
		s.App.Reads("")
	})
}

// What is kept of a client that acknowledges includes its keys.
func TestBugLongKeys(t *testing.T) {
	seed := strings.Repeat("k", 1<<13)
	newkey := KeySequence(seed, 1)[1]
	Custom(t, "kept", StdOptions, StdAttrs+" ack='1' newkey='"+newkey+"'", func(b *Harness, s *Session) {
		var first string
		for rid := range int64(60) {
			body := s.Text(fmt.Sprint(1001+rid), "ack='1000'", "key='"+seed+"'", "newkey='"+newkey+"'")
			if rid == 0 {
				first = body
			}
			c := b.Post(body)
			s.App.Writes(X(""))
			c.Gets(Answer(X("")))
		}
		repeat := b.Post(first)
		b.Wait(time.Second)
		repeat.Gets(Condition(bosh.ItemNotFound))
	})
}

// A session that is closed as soon as it is known still answers its creation.
func TestBugClosedAtCreation(t *testing.T) {
	for name, end := range map[string]func(*bosh.Handler, *bosh.Session){
		"by the handler": func(h *bosh.Handler, _ *bosh.Session) { h.Close() },
		"by itself":      func(_ *bosh.Handler, s *bosh.Session) { s.Terminate(&bosh.Error{Condition: bosh.SystemShutdown}) },
	} {
		var b *Harness
		o := With(func(o *bosh.Options) {
			o.Trace = &bosh.Trace{SessionStart: func(s *bosh.Session) { end(b.H, s) }}
			o.Serve = func(s *bosh.Stream) { <-s.Context().Done() }
		})
		Bubble(t, name, o, func(bb *Harness) {
			b = bb
			b.Wait(time.Hour)
			b.Post(Complete(StdCreation)).GetsNow(Condition(bosh.SystemShutdown))
			assert.Equal(b, 0, b.H.Stats().Open)
			assert.NoError(b, b.H.Shutdown(b.Context()))
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
		o := With(func(o *bosh.Options) { o.Trace = trace })
		Custom(t, name, o, StdAttrs, func(b *Harness, s *Session) {
			s.Send(1001)
			s.App.Writes(X(""))
			s.Send(1002, "pause='60'")
			assert.Equal(b, 0, s.App.Session().Stats().Open)
			b.Wait(60*time.Second + Overtime)
			assert.Error(b, s.App.Session().Err())
		})
	}
}

// A request whose context is ended by something in front of the Handler does
// not look as if it had been answered.
func TestBugTimeoutInFront(t *testing.T) {
	h := bosh.New(With(func(o *bosh.Options) {
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
	r, err := http.Post(srv.URL, "text/xml", strings.NewReader(Complete(StdCreation)))
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
	o := With(func(o *bosh.Options) { o.Framing, o.CreateTimeout = bosh.XMPP, -1 })
	Custom(t, "of the stream's root", o, StdAttrs, func(b *Harness, s *Session) {
		s.App.Writes("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'" + decls.String() + ">")
		s.App.Writes("<message" + attrs.String() + ">" + names.String() + "</message><message/>")
		c := s.Send(1001)
		c.Answer()
		s.App.Writes("<presence/>")
		assert.NoError(b, s.App.Close())
		b.Wait(time.Hour)
		lost := s.App.Lost()
		require.Len(b, lost, 3)
		assert.Contains(b, lost[0], names.String()+"</message>*")
		assert.Equal(b, "<presence xmlns='jabber:client'/>", lost[2])
	})
}

// A request that ends the session ends it, whatever else it asks for.
func TestBugPauseAndTerminate(t *testing.T) {
	Std(t, "in one request", func(b *Harness, s *Session) {
		s.Send(1001, "pause='60'", "type='terminate'").GetsNow(End)
		assert.Equal(b, io.EOF, s.App.Session().Err())
	})
}

// The header of the first request is kept, and so it counts.
func TestBugLargeHeader(t *testing.T) {
	Bubble(t, "counted", With(func(o *bosh.Options) { o.MaxMemory = 100 << 10 }), func(b *Harness) {
		b.Headers.Set("Cookie", strings.Repeat("x", 60<<10))
		first := b.Create()
		b.Create()
		b.Post(Complete(StdCreation)).GetsNow(Condition(bosh.PolicyViolation))
		first.Send(1001, "type='terminate'").GetsNow(End)
		b.Wait(30 * time.Second) // until it is forgotten
		b.Create()
	})
}

// A stream whose opening was not answered, since its connection broke, is told of
// behind a restart of another.
func TestBugRestartBehindOpening(t *testing.T) {
	o := With(func(o *bosh.Options) { o.Framing, o.CreateTimeout, o.MaxStreams = bosh.XMPP, -1, 2 })
	o.Admit = func(_ context.Context, _ *http.Request, op *bosh.Opening) (context.Context, error) {
		if op.To == "example.net" {
			time.Sleep(time.Second)
		}
		return nil, nil
	}
	Custom(t, "orphaned", o, StdAttrs, func(b *Harness, s *Session) {
		b.App(0).Writes(ServerHeader + Success)
		s.Send(1001).Answer()
		opening := s.Send(1002, "to='example.net'")
		opening.Breaks()
		b.Wait(time.Second)
		name := b.App(-1).Name()
		s.Send(1003, "xmpp:restart='true'", "stream='"+s.Granted.Attr("stream")+"'").
			GetsNow("<body stream='" + name + "' from='example.net'/>")
	})
}
