package model_test

import (
	"context"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
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

// A pair is two Handlers, and a transport to each.
type pair struct {
	*testing.T
	a, b   *bosh.Handler
	ra, rb http.RoundTripper
}

// pairs runs f in a bubble, with either engine.
func pairs(t *testing.T, name string, o bosh.Options, f func(p *pair)) {
	t.Helper()
	for _, direct := range []bool{false, true} {
		t.Run(fmt.Sprintf("%s/direct=%v", name, direct), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o.Direct = direct
				p := &pair{T: t, a: NewHandler(t, o), b: NewHandler(t, o)}
				sa, sb := boshtest.NewPipeServer(p.a), boshtest.NewPipeServer(p.b)
				defer sa.Close()
				defer sb.Close()
				p.ra, p.rb = sa, sb
				f(p)
			})
		})
	}
}

// move moves the session of st to the other Handler, and returns its first stream there.
func (p *pair) move(st *bosh.Stream, app string) *bosh.Stream {
	p.Helper()
	state, err := st.Session().Export([]byte(app))
	require.NoError(p, err)
	_, err = p.b.Import(state)
	require.NoError(p, err)
	moved := Accept(p.T, p.b)
	p.a, p.b, p.ra, p.rb = p.b, p.a, p.rb, p.ra
	assert.Equal(p, app, string(moved.Imported()))
	return moved
}

func TestMove(t *testing.T) {
	pairs(t, "a request that is held", StdOptions, func(p *pair) {
		c := Dial(p.T, p.ra)
		st := Accept(p.T, p.a)
		assert.Nil(p, st.Imported())
		held := c.Hold("")
		read := GoRead(st)
		require.True(p, Pending(read))
		old := st
		ctx := st.Context()
		st = p.move(st, "state of the application")
		assert.ErrorIs(p, held.Err(), io.EOF, "no answer")
		assert.ErrorIs(p, (<-read).Err, bosh.ErrMoved)
		_, err := old.Write([]byte(X("a")))
		assert.ErrorIs(p, err, bosh.ErrMoved)
		assert.ErrorIs(p, old.Session().Err(), bosh.ErrMoved)
		assert.ErrorIs(p, context.Cause(ctx), bosh.ErrMoved)
		_, err = old.Session().Export(nil)
		assert.ErrorIs(p, err, bosh.ErrMoved)
		assert.Empty(p, Lost(old))
		assert.Equal(p, map[string]int64{"moved": 1}, p.b.Stats().Ended)
		assert.Zero(p, p.b.Stats().Sessions)
		assert.EqualValues(p, 1, p.a.Stats().Sessions)
		assert.ErrorIs(p, boshtest.Post(p, c.Rt, c.Body(1001, "")).Err(), io.EOF, "it is to be repeated, and elsewhere")

		c.Rt = p.ra
		again := boshtest.Post(p, c.Rt, c.Body(1001, ""))
		require.False(p, again.Answered())
		Write(p.T, st, X("a"))
		assert.Equal(p, X("a"), again.Wait().Payload())
		next := c.Post(X("b"))
		RequireRead(p.T, st, X("b"))
		assert.Empty(p, next.Wait().Payload())
		assert.Equal(p, X("a"), boshtest.Exchange(p, c.Rt, c.Body(1001, "")).Payload(), "a repeat of what was answered")
		RequireEnd(p.T, c.Send("", "type='terminate'"), "")
		RequireEnd(p.T, boshtest.Exchange(p, c.Rt, c.Body(1009, "")), bosh.ItemNotFound)
	})

	// A23
	graceful := StdOptions
	graceful.Grace = 5 * time.Millisecond
	for _, later := range []time.Duration{0, 60 * time.Millisecond, 200 * time.Millisecond} {
		pairs(t, fmt.Sprintf("an answer of %v ago is not overtaken", later), graceful, func(p *pair) {
			c := Dial(p.T, p.ra)
			st := Accept(p.T, p.a)
			held := c.Hold("")
			Write(p.T, st, X("a"))
			assert.Equal(p, X("a"), held.Wait().Payload())
			time.Sleep(later)
			st = p.move(st, "")
			c.Rt = p.ra
			next := c.Hold("") // perhaps sent before that answer was there
			Write(p.T, st, X("b"))
			if later < 100*time.Millisecond {
				time.Sleep(99*time.Millisecond - later)
				assert.False(p, next.Answered())
				time.Sleep(2 * time.Millisecond)
			}
			synctest.Wait()
			assert.True(p, next.Answered())
			assert.Equal(p, X("b"), next.Wait().Payload())

			next = c.Hold("")
			Write(p.T, st, X("c"))
			time.Sleep(6 * time.Millisecond)
			assert.True(p, next.Answered(), "and then as ever")
		})
	}

	pairs(t, "there and back, with input and output that wait", StdOptions, func(p *pair) {
		Dial(p.T, p.ra) // so that Direct has the connection
		Accept(p.T, p.a)
		c := Dial(p.T, p.ra)
		st := Accept(p.T, p.a)
		st.Session().SetLabel("label")
		Write(p.T, st, X("1"))
		c.Post(X("in 1")).Wait()
		Write(p.T, st, X("2")+X("3"))
		for range 5 {
			was := st.Session()
			st = p.move(st, "")
			assert.Equal(p, "label", st.Session().Label())
			assert.Equal(p, was.RemoteAddr(), st.RemoteAddr())
			assert.Equal(p, was.Request().Header, st.Session().Request().Header)
			assert.Equal(p, was.Request().URL, st.Session().Request().URL)
			c.Rt = p.ra
		}
		assert.Equal(p, X("1"), boshtest.Exchange(p, c.Rt, c.Body(1001, X("in 1"))).Payload())
		RequireEnd(p.T, boshtest.Exchange(p, c.Rt, c.Body(1001, X("other"))), bosh.ItemNotFound)
		RequireRead(p.T, st, X("in 1"))
		assert.Equal(p, X("2")+X("3"), c.Send("").Payload())
		require.NoError(p, st.Close())
		RequireEnd(p.T, c.Send(""), "")
	})
}

// A session that has come back is where it was: what is said of it afterwards is not that
// it has moved. A Handler that takes no sessions takes those back that were its own.
func TestMoveBack(t *testing.T) {
	pairs(t, "ended without answers that are kept", StdOptions, func(p *pair) {
		c := Dial(p.T, p.ra)
		st := Accept(p.T, p.a)
		for range 4 {
			time.Sleep(2 * time.Second) // a batch of the Store each
			st = p.move(st, "")
		}
		c.Rt = p.ra
		RequireEnd(p.T, c.Send("<not well-formed"), bosh.BadRequest)
		RequireEnd(p.T, boshtest.Exchange(p, c.Rt, c.Body(1001, "")), bosh.ItemNotFound)
		assert.ErrorIs(p, boshtest.Post(p, p.rb, c.Body(1001, "")).Err(), io.EOF, "it has moved away from here")
	})

	pairs(t, "while it drains", With(func(o *bosh.Options) { o.MaxSessions = 1 }), func(p *pair) {
		c := Dial(p.T, p.ra)
		st := Accept(p.T, p.a)
		drained := make(chan error, 1)
		go func() { drained <- p.a.Drain(p.Context()) }()
		synctest.Wait()
		state, err := st.Session().Export([]byte("app"))
		require.NoError(p, err)
		_, err = p.a.Import(state)
		require.NoError(p, err)
		st = Accept(p.T, p.a)
		assert.Equal(p, "app", string(st.Imported()))
		c.Hold(X("a"))
		RequireRead(p.T, st, X("a"))
		_, err = p.a.Import(state)
		assert.Error(p, err, "it is there")
		require.NoError(p, p.b.Drain(p.Context()))
		_, err = p.b.Import(state)
		assert.ErrorIs(p, err, &bosh.Error{Condition: bosh.SystemShutdown}, "it was never there")
		<-drained
	})
}

// What depends on the framing goes along.
func TestMoveFramings(t *testing.T) {
	xmppOptions := With(func(o *bosh.Options) { o.Framing = bosh.XMPP })
	attrs := []string{"xmpp:version='1.0'", "xmlns:xmpp='urn:xmpp:xbosh'"}
	// An unusual prefix, and a default namespace of the stream's own.
	header := "<s:stream xmlns='urn:other' xmlns:s='http://etherx.jabber.org/streams' id='7' version='1.0'>"
	pairs(t, "XMPP, in the middle of a stream", xmppOptions, func(p *pair) {
		created := boshtest.Post(p, p.ra, Creation(attrs...))
		st := Accept(p.T, p.a)
		head := requireHeader(p.T, st)
		Write(p.T, st, header+"<s:features/>")
		r := created.Wait()
		assert.Contains(p, string(r.Text), "<s:features ")
		assert.Equal(p, "7", r.Attr("authid"))
		c := &Peer{T: p.T, Rt: p.ra, Sid: r.Attr("sid"), Rid: 1000, Created: r}
		Write(p.T, st, "<a/><s:b/>")
		st = p.move(st, "")
		c.Rt = p.ra
		Write(p.T, st, "<c xmlns='urn:c'/><d/>")
		assert.Equal(p, "<a xmlns='urn:other'/><s:b xmlns:s='http://etherx.jabber.org/streams'/><c xmlns='urn:c'/><d xmlns='urn:other'/>", c.Send("").Payload(), "the stream goes on where it was")
		held := c.Post("<message/>")
		RequireRead(p.T, st, "<message xmlns='jabber:client'/>")
		Write(p.T, st, header+"<e/>")
		assert.Equal(p, "<e xmlns='urn:other'/>", held.Wait().Payload(), "a header that is written again does no harm")

		Write(p.T, st, "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
		assert.Contains(p, c.Send("").Payload(), "success")
		st = p.move(st, "")
		c.Rt = p.ra
		held = c.Hold("", Restart)
		RequireRead(p.T, st, head)
		st = p.move(st, "")
		assert.Error(p, held.Err())
		c.Rt = p.ra
		held = boshtest.Post(p, c.Rt, c.Body(c.Rid, "", Restart))
		require.False(p, held.Answered())
		Write(p.T, st, "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='8'><stream:features><bind/></stream:features>")
		assert.Contains(p, held.Wait().Payload(), "<bind/>")
		Write(p.T, st, "</stream:stream>")
		RequireEnd(p.T, c.Send(""), "")
	})

	pairs(t, "XMPP, before and within the server's header", xmppOptions, func(p *pair) {
		created := boshtest.Post(p, p.ra, Creation(attrs...))
		st := Accept(p.T, p.a)
		_, err := st.Session().Export(nil)
		assert.ErrorIs(p, err, bosh.ErrBusy, "the creation has not been answered")
		time.Sleep(15 * Second) // and now it has, without features
		c := &Peer{T: p.T, Rt: p.ra, Sid: created.Wait().Attr("sid"), Rid: 1000}
		Write(p.T, st, header[:20])
		_, err = st.Session().Export(nil)
		assert.ErrorIs(p, err, bosh.ErrBusy, "part of a header")
		Write(p.T, st, header[20:])
		st = p.move(st, "")
		c.Rt = p.ra
		requireHeader(p.T, st)
		Write(p.T, st, "<s:features/>")
		r := c.Send("")
		assert.Contains(p, r.Payload(), "<s:features ")
		assert.Equal(p, "7", r.Attr("authid"))
	})

	pairs(t, "Opaque", With(func(o *bosh.Options) { o.Framing = bosh.Opaque }), func(p *pair) {
		c := Dial(p.T, p.ra)
		st := Accept(p.T, p.a)
		Write(p.T, st, "out\x00")
		st = p.move(st, "")
		c.Rt = p.ra
		Write(p.T, st, "more")
		r := c.Send("")
		assert.Contains(p, string(r.Text), base64.StdEncoding.EncodeToString([]byte("out\x00more")))
		st = p.move(st, "")
		c.Rt = p.ra
		assert.EqualValues(p, 0, st.Proven())
		c.Send("")
		c.Send("")
		assert.EqualValues(p, 8, st.Proven())
	})
}

// requireHeader returns the header of the client that an XMPP stream reads first.
func requireHeader(t *testing.T, st *bosh.Stream) string {
	t.Helper()
	b := make([]byte, 1000)
	n, err := st.Read(b)
	require.NoError(t, err)
	require.Contains(t, string(b[:n]), "<stream:stream ")
	return string(b[:n])
}

// Keys, acks, pauses, polling and the window are as before.
func TestMoveProtocol(t *testing.T) {
	ks := NewKeyring("seed", 9)
	pairs(t, "B15 keys", StdOptions, func(p *pair) {
		c := Dial(p.T, p.ra, ks.Newkey(9))
		st := Accept(p.T, p.a)
		for i := range 3 {
			r := c.Post(X("a"), ks.Key(8-i))
			RequireRead(p.T, st, X("a"))
			st = p.move(st, "")
			assert.Error(p, r.Err())
			c.Rt = p.ra
			RequireEnd(p.T, boshtest.Exchange(p, c.Rt, c.Body(c.Rid, X("b"), ks.Key(8-i))), bosh.ItemNotFound)
			Write(p.T, st, X("b"))
			assert.Equal(p, X("b"), boshtest.Exchange(p, c.Rt, c.Body(c.Rid, X("a"), ks.Key(8-i))).Payload())
		}
		RequireEnd(p.T, c.Send("", ks.Key(8)), bosh.ItemNotFound)
		assert.Error(p, st.Session().Err())
	})

	pairs(t, "B9 acks", StdOptions, func(p *pair) {
		c := Dial(p.T, p.ra, "ack='1'")
		st := Accept(p.T, p.a)
		for i := range 4 {
			Write(p.T, st, X(fmt.Sprint(i)))
			assert.Equal(p, X(fmt.Sprint(i)), c.Send("", "ack='1000'").Payload())
		}
		assert.EqualValues(p, 2, st.Proven(), "as its requests tell")
		st = p.move(st, "")
		c.Rt = p.ra
		assert.Equal(p, X("0"), boshtest.Exchange(p, c.Rt, c.Body(1001, "", "ack='1000'")).Payload(), "an old answer is there still")
		held := c.Hold("", "ack='1002'")
		assert.EqualValues(p, 3, st.Proven())
		st = p.move(st, "")
		assert.EqualValues(p, 3, st.Proven())
		assert.Error(p, held.Err())
		c.Rt = p.ra
		told := make(chan int64, 9)
		st.OnProven(func(n int64) { told <- n })
		assert.EqualValues(p, 3, <-told)
		c.Hold("", "ack='1004'")
		assert.EqualValues(p, 4, <-told)
		RequireEnd(p.T, boshtest.Exchange(p, c.Rt, c.Body(1001, "", "ack='1000'")), bosh.ItemNotFound)
	})

	pairs(t, "B10 a pause", With(func(o *bosh.Options) { o.Pause = 5 * time.Minute }), func(p *pair) {
		c := Dial(p.T, p.ra)
		st := Accept(p.T, p.a)
		assert.Empty(p, c.Send("", "pause='200'").Payload())
		time.Sleep(100 * Second)
		st = p.move(st, "")
		time.Sleep(101 * Second)
		assert.NoError(p, st.Session().Err())
		time.Sleep(2 * Second)
		assert.Error(p, st.Session().Err(), "the time until the move counts")
	})

	pairs(t, "B12 polling", With(func(o *bosh.Options) { o.Polling = 5 * Second }), func(p *pair) {
		created := boshtest.Exchange(p, p.ra, strings.Replace(Creation(), "hold='1'", "hold='0'", 1))
		c := &Peer{T: p.T, Rt: p.ra, Sid: created.Attr("sid"), Rid: 1000}
		st := Accept(p.T, p.a)
		time.Sleep(6 * Second)
		c.Send("")
		time.Sleep(time.Second)
		st = p.move(st, "")
		c.Rt = p.ra
		RequireEnd(p.T, c.Send(""), bosh.PolicyViolation)
		assert.Error(p, st.Session().Err())
	})

	pairs(t, "B14 early requests, and a gap", StdOptions, func(p *pair) {
		c := Dial(p.T, p.ra)
		st := Accept(p.T, p.a)
		early := boshtest.Post(p, p.ra, c.Body(1002, X("b")))
		synctest.Wait()
		require.False(p, early.Answered())
		st = p.move(st, "")
		assert.Error(p, early.Err())
		boshtest.Post(p, p.ra, c.Body(1001, X("a")))
		RequireRead(p.T, st, X("a")+X("b"))
		RequireEnd(p.T, boshtest.Exchange(p, p.ra, c.Body(1002, X("c"))), bosh.ItemNotFound)
		boshtest.Post(p, p.ra, c.Body(1004, X("d")))
		synctest.Wait()
		st = p.move(st, "")
		time.Sleep(5 * time.Minute)
		assert.Error(p, st.Session().Err(), "nobody fills the gap")
	})

	pairs(t, "B16 several streams", ManyStreams, func(p *pair) {
		c := Dial(p.T, p.ra)
		one := Accept(p.T, p.a)
		named := c.Send("", "to='example.net'")
		two := Accept(p.T, p.a)
		assert.Equal(p, two.Name(), named.Attr("stream"))
		assert.Equal(p, "example.net", two.Opening().To)
		Write(p.T, two, X("2"))
		Write(p.T, one, X("1"))
		one = p.move(one, "app")
		again := Accept(p.T, p.a)
		assert.Equal(p, two.Name(), again.Name())
		assert.Equal(p, two.Opening(), again.Opening())
		assert.Equal(p, "app", string(again.Imported()))
		two, c.Rt = again, p.ra
		got := map[string]string{}
		for range 2 {
			r := c.Send("")
			got[r.Attr("stream")] = r.Payload()
		}
		assert.Equal(p, map[string]string{one.Name(): X("1"), two.Name(): X("2")}, got)
		c.Post(X("to two"), "stream='"+two.Name()+"'")
		RequireRead(p.T, two, X("to two"))
		Write(p.T, one, X("3")) // in the answer, so that nobody can be told of the end
		synctest.Wait()
		require.NoError(p, two.Close())
		_, err := one.Session().Export(nil)
		assert.ErrorIs(p, err, bosh.ErrBusy, "a stream ends")
		synctest.Wait()
		c.Send("")
		c.Send("")
		one = p.move(one, "")
		c.Rt = p.ra
		Write(p.T, one, X("1"))
		assert.Contains(p, c.Send("").Payload()+c.Send("").Payload(), X("1"))
	})

	pairs(t, "B19 security", StdOptions, func(p *pair) {
		cert, _ := Certificate(p.T)
		raw := string(cert.Certificate[0])
		c := Dial(p.T, Over(p.a, Certified(raw)))
		st := Accept(p.T, p.a)
		st = p.move(st, "")
		assert.True(p, st.Session().Secure())
		assert.Equal(p, raw, string(st.Session().TLS().PeerCertificates[0].Raw))
		assert.ErrorIs(p, boshtest.Post(p, p.ra, c.Body(1001, "")).Err(), io.EOF)
		c.Rt = Over(p.a, Certified(raw))
		held := c.Hold("")
		Write(p.T, st, X("a"))
		assert.Equal(p, X("a"), held.Wait().Payload())
		assert.ErrorIs(p, boshtest.Post(p, p.rb, c.Body(1001, "")).Err(), io.EOF)
	})
}

// HTTP/2 breaks a stream where HTTP/1.1 breaks the connection.
func TestMoveHTTP2(t *testing.T) {
	OverVersions(t, StdOptions, 0, func(t *testing.T, h *bosh.Handler, rt *boshtest.PipeServer) {
		other := NewHandler(t, StdOptions)
		c := Dial(t, rt)
		st := Accept(t, h)
		held := c.Hold("")
		state, err := st.Session().Export(nil)
		require.NoError(t, err)
		assert.Error(t, held.Err())
		assert.Error(t, boshtest.Post(t, rt, c.Body(1001, "")).Err())
		_, err = other.Import(state)
		require.NoError(t, err)
		Write(t, Accept(t, other), X("a"))
		assert.Equal(t, X("a"), boshtest.Exchange(t, boshtest.InMemory(other), c.Body(1001, "")).Payload())
	})
}

// What cannot be exported says why, and goes on. What can be later is ErrBusy.
func TestExportBusy(t *testing.T) {
	export := func(st *bosh.Stream) error {
		_, err := st.Session().Export(nil)
		return err
	}
	pairs(t, "writing", With(func(o *bosh.Options) { o.WriteBuffer = 10 }), func(p *pair) {
		c := Dial(p.T, p.ra)
		st := Accept(p.T, p.a)
		Write(p.T, st, "<part")
		assert.ErrorIs(p, export(st), bosh.ErrBusy)
		Write(p.T, st, " xmlns=''/>")
		blocked := Async(func() error { _, err := st.Write([]byte(X("b"))); return err })
		require.True(p, Pending(blocked))
		assert.ErrorIs(p, export(st), bosh.ErrBusy)
		c.Send("")
		require.NoError(p, <-blocked)
		assert.NoError(p, export(st))
	})
	pairs(t, "reading", StdOptions, func(p *pair) {
		c := Dial(p.T, p.ra)
		st := Accept(p.T, p.a)
		assert.ErrorContains(p, st.Detach(p.Context()), "Detach without Receive")
		called, ends := make(chan string), make(chan bool)
		receive := func(b []byte, err error) {
			called <- string(b)
			<-ends
		}
		require.NoError(p, st.Receive(receive))
		assert.ErrorContains(p, export(st), "Detach")
		c.Post(X("a"))
		assert.Equal(p, X("a"), <-called)
		ctx, cancel := context.WithTimeout(p.Context(), time.Second)
		defer cancel()
		assert.ErrorIs(p, st.Detach(ctx), context.DeadlineExceeded)
		assert.ErrorIs(p, export(st), bosh.ErrBusy)
		assert.Error(p, st.Receive(receive))
		first, second := Async(func() error { return st.Detach(p.Context()) }), Async(func() error { return st.Detach(p.Context()) })
		require.True(p, Pending(first) && Pending(second))
		c.Post(X("b"))
		synctest.Wait()
		close(ends)
		assert.NoError(p, <-first)
		assert.NoError(p, <-second)
		assert.NoError(p, st.Detach(p.Context()))
		st = p.move(st, "")
		RequireRead(p.T, st, X("b"))
	})
	pairs(t, "Receive again", StdOptions, func(p *pair) {
		c := Dial(p.T, p.ra)
		st := Accept(p.T, p.a)
		got := make(chan string, 9)
		for i := range 3 {
			require.NoError(p, st.Receive(func(b []byte, err error) { got <- string(b) }))
			c.Post(X(fmt.Sprint(i)))
			assert.Equal(p, X(fmt.Sprint(i)), <-got)
			require.NoError(p, st.Detach(p.Context()))
		}
		assert.NoError(p, st.Session().Err())
		st.Close()
		assert.ErrorIs(p, st.Detach(p.Context()), net.ErrClosed)
	})
	pairs(t, "tokens", StdOptions, func(p *pair) {
		Dial(p.T, p.ra)
		st := Accept(p.T, p.a)
		require.NoError(p, st.EncodeToken(xml.StartElement{Name: xml.Name{Local: "a"}}))
		err := export(st)
		assert.ErrorContains(p, err, "tokens")
		assert.NotErrorIs(p, err, bosh.ErrBusy)
	})
	pairs(t, "ending", StdOptions, func(p *pair) {
		c := Dial(p.T, p.ra)
		st := Accept(p.T, p.a)
		st.Close()
		assert.ErrorIs(p, export(st), bosh.ErrBusy)
		RequireEnd(p.T, c.Send(""), "")
		err := export(st)
		assert.Error(p, err)
		assert.NotErrorIs(p, err, bosh.ErrBusy)
	})
	pairs(t, "a stream is being admitted", func() bosh.Options {
		o := ManyStreams
		o.Admit = func(ctx context.Context, _ *http.Request, o *bosh.Opening) (context.Context, error) {
			if o.To == "slow.example" {
				time.Sleep(time.Second)
			}
			return ctx, nil
		}
		return o
	}(), func(p *pair) {
		c := Dial(p.T, p.ra)
		st := Accept(p.T, p.a)
		c.Post("", "to='slow.example'")
		synctest.Wait()
		assert.ErrorIs(p, export(st), bosh.ErrBusy)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		assert.NoError(p, export(st))
	})
}

// Import takes only what the Handler has room for, and what fails leaves nothing behind.
func TestImportRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := StdOptions
		from := NewHandler(t, o)
		export := func(app int) []byte {
			Dial(t, boshtest.InMemory(from))
			state, err := Accept(t, from).Session().Export(make([]byte, app))
			require.NoError(t, err)
			return state
		}
		state := export(0)
		for name, test := range map[string]struct {
			o     bosh.Options
			state []byte
			setup func(h *bosh.Handler)
			err   error
		}{
			"nothing":       {o: o, state: nil},
			"damaged":       {o: o, state: state[:len(state)-1]},
			"draining":      {o: o, state: state, setup: func(h *bosh.Handler) { h.Drain(t.Context()) }, err: &bosh.Error{Condition: bosh.SystemShutdown}},
			"closed":        {o: o, state: state, setup: func(h *bosh.Handler) { h.Close() }, err: &bosh.Error{Condition: bosh.SystemShutdown}},
			"listener":      {o: o, state: state, setup: func(h *bosh.Handler) { h.Listener().Close() }, err: &bosh.Error{Condition: bosh.SystemShutdown}},
			"backlog":       {o: With(func(o *bosh.Options) { o.Backlog = 1 }), state: state, setup: func(h *bosh.Handler) { Dial(t, boshtest.InMemory(h)) }},
			"max sessions":  {o: With(func(o *bosh.Options) { o.MaxSessions = 1 }), state: state, setup: func(h *bosh.Handler) { Dial(t, boshtest.InMemory(h)) }, err: &bosh.Error{Condition: bosh.PolicyViolation}},
			"max per addr":  {o: With(func(o *bosh.Options) { o.MaxPerAddr = 1 }), state: state, setup: func(h *bosh.Handler) { Dial(t, boshtest.InMemory(h)) }, err: &bosh.Error{Condition: bosh.PolicyViolation}},
			"memory":        {o: With(func(o *bosh.Options) { o.MaxMemory = 100 << 10 }), state: export(101 << 10), err: &bosh.Error{Condition: bosh.PolicyViolation}},
			"there already": {o: o, state: state, setup: func(h *bosh.Handler) { _, err := h.Import(state); require.NoError(t, err) }},
		} {
			h := NewHandler(t, test.o)
			if test.setup != nil {
				test.setup(h)
			}
			before := h.Stats()
			_, err := h.Import(test.state)
			require.Error(t, err, name)
			if test.err != nil {
				assert.ErrorIs(t, err, test.err, name)
			}
			assert.Equal(t, before, h.Stats(), name)
		}
		h := NewHandler(t, o)
		s, err := h.Import(export(10 << 10))
		require.NoError(t, err)
		assert.Greater(t, h.Stats().Memory, int64(10<<10), "what is imported counts")
		s.Terminate(nil)
		Accept(t, h).Close()
		time.Sleep(2 * time.Minute)
		assert.Less(t, h.Stats().Memory, int64(10<<10))
	})
}

// A leaving node passes requests of its exported sessions on. Their new node serves them
// under the old name. A request during the move is answered a little later.
func TestMoveOfNodes(t *testing.T) {
	Trios(t, "from a to b, asked at c", StdOptions, func(c *Trio) {
		p := Dial(c.T, c.At("a"))
		st := Accept(c.T, c.H["a"])
		p.Rt = c.At("c")
		held := p.Hold("")
		c.Adopt("a", "b", false)
		state, err := st.Session().Export(nil)
		require.NoError(c, err)
		synctest.Wait()
		require.False(c, held.Answered(), "its front asks again")
		late := boshtest.Post(c, c.At("a"), p.Body(1002, X("in")))
		time.Sleep(2 * Second)
		require.False(c, late.Answered(), "so does the node itself")
		_, err = c.H["b"].Import(state)
		require.NoError(c, err)
		st = Accept(c.T, c.H["b"])
		RequireRead(c.T, st, X("in"))
		Write(c.T, st, X("out"))
		assert.Equal(c, X("out"), held.Wait().Payload()+late.Wait().Payload())
		p.Rid = 1002
		for _, node := range []string{"a", "b", "c"} {
			p.Rt = c.At(node)
			held := p.Hold("")
			Write(c.T, st, X(node))
			assert.Equal(c, X(node), held.Wait().Payload())
		}
		p.Rt = c.At("c")
		held = p.Hold("")
		held.Cancel()
		synctest.Wait()
		assert.Zero(c, st.Session().Stats().Open, "the new owner hears that a client has left, through two nodes")
		assert.NoError(c, c.H["a"].Drain(c.Context()))
		require.NoError(c, c.H["a"].Shutdown(c.Context()))
		c.Adopt("a", "b", true)
		c.Kill("a")
		Write(c.T, st, X("end"))
		assert.Equal(c, X("end"), boshtest.Exchange(c, p.Rt, p.Body(p.Rid, "")).Payload())
		RequireEnd(c.T, p.Send("", "type='terminate'"), "")
		RequireEnd(c.T, boshtest.Exchange(c, p.Rt, p.Body(p.Rid+5, "")), bosh.ItemNotFound)
	})
	Trios(t, "nobody takes it", StdOptions, func(c *Trio) {
		p := Dial(c.T, c.At("a"))
		c.Adopt("a", "b", false)
		_, err := Accept(c.T, c.H["a"]).Session().Export(nil)
		require.NoError(c, err)
		for _, node := range []string{"a", "c"} {
			began := time.Now()
			RequireEnd(c.T, boshtest.Exchange(c, c.At(node), p.Body(1001, "")), bosh.ItemNotFound)
			assert.InDelta(c, 5, time.Since(began).Seconds(), 1)
		}
		c.Adopt("a", "a", false) // which makes no sense
		RequireEnd(c.T, boshtest.Exchange(c, c.At("c"), p.Body(1001, "")), bosh.ItemNotFound)
	})
}

// A session of a browser at rest takes no more than 2 KB, and 50 µs each way on an idle
// machine.
func TestExportSize(t *testing.T) {
	h := NewHandler(t, StdOptions)
	_, st := atRest(t, h)
	state, err := st.Session().Export(nil)
	require.NoError(t, err)
	t.Logf("%d bytes", len(state))
	assert.LessOrEqual(t, len(state), 2<<10)
}

// atRest returns a session of a browser that has said something, and been told something.
func atRest(t testing.TB, h *bosh.Handler) (rid int64, st *bosh.Stream) {
	post := func(body string) string {
		r := httptest.NewRequest("POST", "/http-bind", strings.NewReader(body))
		for k, v := range map[string]string{
			"Accept": "*/*", "Accept-Encoding": "gzip, deflate, br, zstd", "Accept-Language": "en-GB,en;q=0.9", "Content-Type": "text/xml; charset=utf-8",
			"Origin": "https://chat.example.com", "Referer": "https://chat.example.com/", "Priority": "u=1, i", "Sec-Fetch-Dest": "empty",
			"Sec-Ch-Ua": `"Chromium";v="140", "Not=A?Brand";v="24", "Google Chrome";v="140"`, "Sec-Ch-Ua-Mobile": "?0", "Sec-Ch-Ua-Platform": `"Linux"`,
			"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36", "X-Forwarded-For": "203.0.113.9",
		} {
			r.Header.Set(k, v)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Body.String()
	}
	_, after, _ := strings.Cut(post(Creation()), "sid='")
	sid, _, _ := strings.Cut(after, "'")
	c, err := h.Listener().Accept()
	require.NoError(t, err)
	st = c.(*bosh.Stream)
	for rid = 1001; rid < 1004; rid++ {
		_, err := st.Write([]byte("<message from='juliet@example.com/balcony' to='romeo@example.net/orchard' xmlns='jabber:client'><body>Wherefore art thou?</body></message>"))
		require.NoError(t, err)
		post(fmt.Sprintf("<body rid='%d' sid='%s' xmlns='%s'><presence xmlns='jabber:client'/></body>", rid, sid, NsBind))
		_, err = st.ReadElement(context.Background())
		require.NoError(t, err)
	}
	return rid, st
}

func BenchmarkMove(b *testing.B) {
	o := StdOptions
	o.Logger = slog.New(slog.DiscardHandler)
	h, other := bosh.New(o), bosh.New(o)
	defer h.Close()
	defer other.Close()
	_, st := atRest(b, h)
	var export, imported time.Duration
	b.ReportAllocs()
	for b.Loop() {
		begin := time.Now()
		state, err := st.Session().Export(nil)
		if err != nil {
			b.Fatal(err)
		}
		export += time.Since(begin)
		begin = time.Now()
		if _, err = other.Import(state); err != nil {
			b.Fatal(err)
		}
		imported += time.Since(begin)
		c, _ := other.Listener().Accept()
		st, h, other = c.(*bosh.Stream), other, h
	}
	b.ReportMetric(float64(export.Nanoseconds())/float64(b.N)/1000, "µs/export")
	b.ReportMetric(float64(imported.Nanoseconds())/float64(b.N)/1000, "µs/import")
}
