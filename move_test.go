package bosh_test

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
				p := &pair{T: t, a: newHandler(t, o), b: newHandler(t, o)}
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
	moved := accept(p.T, p.b)
	p.a, p.b, p.ra, p.rb = p.b, p.a, p.rb, p.ra
	assert.Equal(p, app, string(moved.Imported()))
	return moved
}

func TestMove(t *testing.T) {
	pairs(t, "a request that is held", stdOptions, func(p *pair) {
		c := dial(p.T, p.ra)
		st := accept(p.T, p.a)
		assert.Nil(p, st.Imported())
		held := c.hold("")
		read := goRead(st)
		require.True(p, pending(read))
		old := st
		ctx := st.Context()
		st = p.move(st, "state of the application")
		assert.ErrorIs(p, held.Err(), io.EOF, "no answer")
		assert.ErrorIs(p, (<-read).err, bosh.ErrMoved)
		_, err := old.Write([]byte(x("a")))
		assert.ErrorIs(p, err, bosh.ErrMoved)
		assert.ErrorIs(p, old.Session().Err(), bosh.ErrMoved)
		assert.ErrorIs(p, context.Cause(ctx), bosh.ErrMoved)
		_, err = old.Session().Export(nil)
		assert.ErrorIs(p, err, bosh.ErrMoved)
		assert.Empty(p, undelivered(old))
		assert.Equal(p, map[string]int64{"moved": 1}, p.b.Stats().Ended)
		assert.Zero(p, p.b.Stats().Sessions)
		assert.EqualValues(p, 1, p.a.Stats().Sessions)
		assert.ErrorIs(p, boshtest.Post(p, c.rt, c.body(1001, "")).Err(), io.EOF, "it is to be repeated, and elsewhere")

		c.rt = p.ra
		again := boshtest.Post(p, c.rt, c.body(1001, ""))
		require.False(p, again.Answered())
		write(p.T, st, x("a"))
		assert.Equal(p, x("a"), again.Wait().Payload())
		next := c.post(x("b"))
		requireRead(p.T, st, x("b"))
		assert.Empty(p, next.Wait().Payload())
		assert.Equal(p, x("a"), boshtest.Exchange(p, c.rt, c.body(1001, "")).Payload(), "a repeat of what was answered")
		requireEnd(p.T, c.send("", "type='terminate'"), "")
		requireEnd(p.T, boshtest.Exchange(p, c.rt, c.body(1009, "")), bosh.ItemNotFound)
	})

	pairs(t, "there and back, with input and output that wait", stdOptions, func(p *pair) {
		dial(p.T, p.ra) // so that Direct has the connection
		accept(p.T, p.a)
		c := dial(p.T, p.ra)
		st := accept(p.T, p.a)
		st.Session().SetLabel("label")
		write(p.T, st, x("1"))
		c.post(x("in 1")).Wait()
		write(p.T, st, x("2")+x("3"))
		for range 5 {
			was := st.Session()
			st = p.move(st, "")
			assert.Equal(p, "label", st.Session().Label())
			assert.Equal(p, was.RemoteAddr(), st.RemoteAddr())
			assert.Equal(p, was.Request().Header, st.Session().Request().Header)
			assert.Equal(p, was.Request().URL, st.Session().Request().URL)
			c.rt = p.ra
		}
		assert.Equal(p, x("1"), boshtest.Exchange(p, c.rt, c.body(1001, x("in 1"))).Payload())
		requireEnd(p.T, boshtest.Exchange(p, c.rt, c.body(1001, x("other"))), bosh.ItemNotFound)
		requireRead(p.T, st, x("in 1"))
		assert.Equal(p, x("2")+x("3"), c.send("").Payload())
		require.NoError(p, st.Close())
		requireEnd(p.T, c.send(""), "")
	})
}

// What depends on the framing goes along.
func TestMoveFramings(t *testing.T) {
	xmppOptions := with(func(o *bosh.Options) { o.Framing = bosh.XMPP })
	attrs := []string{"xmpp:version='1.0'", "xmlns:xmpp='urn:xmpp:xbosh'"}
	// An unusual prefix, and a default namespace of the stream's own.
	header := "<s:stream xmlns='urn:other' xmlns:s='http://etherx.jabber.org/streams' id='7' version='1.0'>"
	pairs(t, "XMPP, in the middle of a stream", xmppOptions, func(p *pair) {
		created := boshtest.Post(p, p.ra, creation(attrs...))
		st := accept(p.T, p.a)
		head := requireHeader(p.T, st)
		write(p.T, st, header+"<s:features/>")
		r := created.Wait()
		assert.Contains(p, string(r.Text), "<s:features ")
		assert.Equal(p, "7", r.Attr("authid"))
		c := &peer{t: p.T, rt: p.ra, sid: r.Attr("sid"), rid: 1000, created: r}
		write(p.T, st, "<a/><s:b/>")
		st = p.move(st, "")
		c.rt = p.ra
		write(p.T, st, "<c xmlns='urn:c'/><d/>")
		assert.Equal(p, "<a xmlns='urn:other'/><s:b xmlns:s='http://etherx.jabber.org/streams'/><c xmlns='urn:c'/><d xmlns='urn:other'/>", c.send("").Payload(), "the stream goes on where it was")
		held := c.post("<message/>")
		requireRead(p.T, st, "<message xmlns='jabber:client'/>")
		write(p.T, st, header+"<e/>")
		assert.Equal(p, "<e xmlns='urn:other'/>", held.Wait().Payload(), "a header that is written again does no harm")

		write(p.T, st, "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
		assert.Contains(p, c.send("").Payload(), "success")
		st = p.move(st, "")
		c.rt = p.ra
		held = c.hold("", restart)
		requireRead(p.T, st, head)
		st = p.move(st, "")
		assert.Error(p, held.Err())
		c.rt = p.ra
		held = boshtest.Post(p, c.rt, c.body(c.rid, "", restart))
		require.False(p, held.Answered())
		write(p.T, st, "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='8'><stream:features><bind/></stream:features>")
		assert.Contains(p, held.Wait().Payload(), "<bind/>")
		write(p.T, st, "</stream:stream>")
		requireEnd(p.T, c.send(""), "")
	})

	pairs(t, "XMPP, before and within the server's header", xmppOptions, func(p *pair) {
		created := boshtest.Post(p, p.ra, creation(attrs...))
		st := accept(p.T, p.a)
		_, err := st.Session().Export(nil)
		assert.ErrorIs(p, err, bosh.ErrBusy, "the creation has not been answered")
		time.Sleep(15 * second) // and now it has, without features
		c := &peer{t: p.T, rt: p.ra, sid: created.Wait().Attr("sid"), rid: 1000}
		write(p.T, st, header[:20])
		_, err = st.Session().Export(nil)
		assert.ErrorIs(p, err, bosh.ErrBusy, "part of a header")
		write(p.T, st, header[20:])
		st = p.move(st, "")
		c.rt = p.ra
		requireHeader(p.T, st)
		write(p.T, st, "<s:features/>")
		r := c.send("")
		assert.Contains(p, r.Payload(), "<s:features ")
		assert.Equal(p, "7", r.Attr("authid"))
	})

	pairs(t, "Opaque", with(func(o *bosh.Options) { o.Framing = bosh.Opaque }), func(p *pair) {
		c := dial(p.T, p.ra)
		st := accept(p.T, p.a)
		write(p.T, st, "out\x00")
		st = p.move(st, "")
		c.rt = p.ra
		write(p.T, st, "more")
		r := c.send("")
		assert.Contains(p, string(r.Text), base64.StdEncoding.EncodeToString([]byte("out\x00more")))
		st = p.move(st, "")
		c.rt = p.ra
		assert.EqualValues(p, 0, st.Proven())
		c.send("")
		c.send("")
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
	ks := newKeyring("seed", 9)
	pairs(t, "B15 keys", stdOptions, func(p *pair) {
		c := dial(p.T, p.ra, ks.newkey(9))
		st := accept(p.T, p.a)
		for i := range 3 {
			r := c.post(x("a"), ks.key(8-i))
			requireRead(p.T, st, x("a"))
			st = p.move(st, "")
			assert.Error(p, r.Err())
			c.rt = p.ra
			requireEnd(p.T, boshtest.Exchange(p, c.rt, c.body(c.rid, x("b"), ks.key(8-i))), bosh.ItemNotFound)
			write(p.T, st, x("b"))
			assert.Equal(p, x("b"), boshtest.Exchange(p, c.rt, c.body(c.rid, x("a"), ks.key(8-i))).Payload())
		}
		requireEnd(p.T, c.send("", ks.key(8)), bosh.ItemNotFound)
		assert.Error(p, st.Session().Err())
	})

	pairs(t, "B9 acks", stdOptions, func(p *pair) {
		c := dial(p.T, p.ra, "ack='1'")
		st := accept(p.T, p.a)
		for i := range 4 {
			write(p.T, st, x(fmt.Sprint(i)))
			assert.Equal(p, x(fmt.Sprint(i)), c.send("", "ack='1000'").Payload())
		}
		assert.EqualValues(p, 2, st.Proven(), "as its requests tell")
		st = p.move(st, "")
		c.rt = p.ra
		assert.Equal(p, x("0"), boshtest.Exchange(p, c.rt, c.body(1001, "", "ack='1000'")).Payload(), "an old answer is there still")
		held := c.hold("", "ack='1002'")
		assert.EqualValues(p, 3, st.Proven())
		st = p.move(st, "")
		assert.EqualValues(p, 3, st.Proven())
		assert.Error(p, held.Err())
		c.rt = p.ra
		told := make(chan int64, 9)
		st.OnProven(func(n int64) { told <- n })
		assert.EqualValues(p, 3, <-told)
		c.hold("", "ack='1004'")
		assert.EqualValues(p, 4, <-told)
		requireEnd(p.T, boshtest.Exchange(p, c.rt, c.body(1001, "", "ack='1000'")), bosh.ItemNotFound)
	})

	pairs(t, "B10 a pause", with(func(o *bosh.Options) { o.Pause = 5 * time.Minute }), func(p *pair) {
		c := dial(p.T, p.ra)
		st := accept(p.T, p.a)
		assert.Empty(p, c.send("", "pause='200'").Payload())
		time.Sleep(100 * second)
		st = p.move(st, "")
		time.Sleep(101 * second)
		assert.NoError(p, st.Session().Err())
		time.Sleep(2 * second)
		assert.Error(p, st.Session().Err(), "the time until the move counts")
	})

	pairs(t, "B12 polling", with(func(o *bosh.Options) { o.Polling = 5 * second }), func(p *pair) {
		created := boshtest.Exchange(p, p.ra, strings.Replace(creation(), "hold='1'", "hold='0'", 1))
		c := &peer{t: p.T, rt: p.ra, sid: created.Attr("sid"), rid: 1000}
		st := accept(p.T, p.a)
		time.Sleep(6 * second)
		c.send("")
		time.Sleep(time.Second)
		st = p.move(st, "")
		c.rt = p.ra
		requireEnd(p.T, c.send(""), bosh.PolicyViolation)
		assert.Error(p, st.Session().Err())
	})

	pairs(t, "B14 early requests, and a gap", stdOptions, func(p *pair) {
		c := dial(p.T, p.ra)
		st := accept(p.T, p.a)
		early := boshtest.Post(p, p.ra, c.body(1002, x("b")))
		synctest.Wait()
		require.False(p, early.Answered())
		st = p.move(st, "")
		assert.Error(p, early.Err())
		boshtest.Post(p, p.ra, c.body(1001, x("a")))
		requireRead(p.T, st, x("a")+x("b"))
		requireEnd(p.T, boshtest.Exchange(p, p.ra, c.body(1002, x("c"))), bosh.ItemNotFound)
		boshtest.Post(p, p.ra, c.body(1004, x("d")))
		synctest.Wait()
		st = p.move(st, "")
		time.Sleep(5 * time.Minute)
		assert.Error(p, st.Session().Err(), "nobody fills the gap")
	})

	pairs(t, "B16 several streams", manyStreams, func(p *pair) {
		c := dial(p.T, p.ra)
		one := accept(p.T, p.a)
		named := c.send("", "to='example.net'")
		two := accept(p.T, p.a)
		assert.Equal(p, two.Name(), named.Attr("stream"))
		assert.Equal(p, "example.net", two.Opening().To)
		write(p.T, two, x("2"))
		write(p.T, one, x("1"))
		one = p.move(one, "app")
		again := accept(p.T, p.a)
		assert.Equal(p, two.Name(), again.Name())
		assert.Equal(p, two.Opening(), again.Opening())
		assert.Equal(p, "app", string(again.Imported()))
		two, c.rt = again, p.ra
		got := map[string]string{}
		for range 2 {
			r := c.send("")
			got[r.Attr("stream")] = r.Payload()
		}
		assert.Equal(p, map[string]string{one.Name(): x("1"), two.Name(): x("2")}, got)
		c.post(x("to two"), "stream='"+two.Name()+"'")
		requireRead(p.T, two, x("to two"))
		require.NoError(p, two.Close())
		_, err := one.Session().Export(nil)
		assert.ErrorIs(p, err, bosh.ErrBusy, "a stream ends")
		synctest.Wait()
		c.send("")
		c.send("")
		one = p.move(one, "")
		c.rt = p.ra
		write(p.T, one, x("1"))
		assert.Contains(p, c.send("").Payload()+c.send("").Payload(), x("1"))
	})

	pairs(t, "B19 security", stdOptions, func(p *pair) {
		cert, _ := certificate(p.T)
		raw := string(cert.Certificate[0])
		c := dial(p.T, over(p.a, certified(raw)))
		st := accept(p.T, p.a)
		st = p.move(st, "")
		assert.True(p, st.Session().Secure())
		assert.Equal(p, raw, string(st.Session().TLS().PeerCertificates[0].Raw))
		assert.ErrorIs(p, boshtest.Post(p, p.ra, c.body(1001, "")).Err(), io.EOF)
		c.rt = over(p.a, certified(raw))
		held := c.hold("")
		write(p.T, st, x("a"))
		assert.Equal(p, x("a"), held.Wait().Payload())
		assert.ErrorIs(p, boshtest.Post(p, p.rb, c.body(1001, "")).Err(), io.EOF)
	})
}

// HTTP/2 breaks a stream where HTTP/1.1 breaks the connection.
func TestMoveHTTP2(t *testing.T) {
	overVersions(t, stdOptions, 0, func(t *testing.T, h *bosh.Handler, rt *boshtest.PipeServer) {
		other := newHandler(t, stdOptions)
		c := dial(t, rt)
		st := accept(t, h)
		held := c.hold("")
		state, err := st.Session().Export(nil)
		require.NoError(t, err)
		assert.Error(t, held.Err())
		assert.Error(t, boshtest.Post(t, rt, c.body(1001, "")).Err())
		_, err = other.Import(state)
		require.NoError(t, err)
		write(t, accept(t, other), x("a"))
		assert.Equal(t, x("a"), boshtest.Exchange(t, boshtest.InMemory(other), c.body(1001, "")).Payload())
	})
}

// What cannot be exported says why, and goes on. What can be later is ErrBusy.
func TestExportBusy(t *testing.T) {
	export := func(st *bosh.Stream) error {
		_, err := st.Session().Export(nil)
		return err
	}
	pairs(t, "writing", with(func(o *bosh.Options) { o.WriteBuffer = 10 }), func(p *pair) {
		c := dial(p.T, p.ra)
		st := accept(p.T, p.a)
		write(p.T, st, "<part")
		assert.ErrorIs(p, export(st), bosh.ErrBusy)
		write(p.T, st, " xmlns=''/>")
		blocked := async(func() error { _, err := st.Write([]byte(x("b"))); return err })
		require.True(p, pending(blocked))
		assert.ErrorIs(p, export(st), bosh.ErrBusy)
		c.send("")
		require.NoError(p, <-blocked)
		assert.NoError(p, export(st))
	})
	pairs(t, "reading", stdOptions, func(p *pair) {
		c := dial(p.T, p.ra)
		st := accept(p.T, p.a)
		assert.ErrorContains(p, st.Detach(p.Context()), "Detach without Receive")
		called, ends := make(chan string), make(chan bool)
		receive := func(b []byte, err error) {
			called <- string(b)
			<-ends
		}
		require.NoError(p, st.Receive(receive))
		assert.ErrorContains(p, export(st), "Detach")
		c.post(x("a"))
		assert.Equal(p, x("a"), <-called)
		ctx, cancel := context.WithTimeout(p.Context(), time.Second)
		defer cancel()
		assert.ErrorIs(p, st.Detach(ctx), context.DeadlineExceeded)
		assert.ErrorIs(p, export(st), bosh.ErrBusy)
		assert.Error(p, st.Receive(receive))
		first, second := async(func() error { return st.Detach(p.Context()) }), async(func() error { return st.Detach(p.Context()) })
		require.True(p, pending(first) && pending(second))
		c.post(x("b"))
		synctest.Wait()
		close(ends)
		assert.NoError(p, <-first)
		assert.NoError(p, <-second)
		assert.NoError(p, st.Detach(p.Context()))
		st = p.move(st, "")
		requireRead(p.T, st, x("b"))
	})
	pairs(t, "Receive again", stdOptions, func(p *pair) {
		c := dial(p.T, p.ra)
		st := accept(p.T, p.a)
		got := make(chan string, 9)
		for i := range 3 {
			require.NoError(p, st.Receive(func(b []byte, err error) { got <- string(b) }))
			c.post(x(fmt.Sprint(i)))
			assert.Equal(p, x(fmt.Sprint(i)), <-got)
			require.NoError(p, st.Detach(p.Context()))
		}
		assert.NoError(p, st.Session().Err())
		st.Close()
		assert.ErrorIs(p, st.Detach(p.Context()), net.ErrClosed)
	})
	pairs(t, "tokens", stdOptions, func(p *pair) {
		dial(p.T, p.ra)
		st := accept(p.T, p.a)
		require.NoError(p, st.EncodeToken(xml.StartElement{Name: xml.Name{Local: "a"}}))
		err := export(st)
		assert.ErrorContains(p, err, "tokens")
		assert.NotErrorIs(p, err, bosh.ErrBusy)
	})
	pairs(t, "ending", stdOptions, func(p *pair) {
		c := dial(p.T, p.ra)
		st := accept(p.T, p.a)
		st.Close()
		assert.ErrorIs(p, export(st), bosh.ErrBusy)
		requireEnd(p.T, c.send(""), "")
		err := export(st)
		assert.Error(p, err)
		assert.NotErrorIs(p, err, bosh.ErrBusy)
	})
	pairs(t, "a stream is being admitted", func() bosh.Options {
		o := manyStreams
		o.Admit = func(ctx context.Context, _ *http.Request, o *bosh.Opening) (context.Context, error) {
			if o.To == "slow.example" {
				time.Sleep(time.Second)
			}
			return ctx, nil
		}
		return o
	}(), func(p *pair) {
		c := dial(p.T, p.ra)
		st := accept(p.T, p.a)
		c.post("", "to='slow.example'")
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
		o := stdOptions
		from := newHandler(t, o)
		export := func(app int) []byte {
			dial(t, boshtest.InMemory(from))
			state, err := accept(t, from).Session().Export(make([]byte, app))
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
			"backlog":       {o: with(func(o *bosh.Options) { o.Backlog = 1 }), state: state, setup: func(h *bosh.Handler) { dial(t, boshtest.InMemory(h)) }},
			"max sessions":  {o: with(func(o *bosh.Options) { o.MaxSessions = 1 }), state: state, setup: func(h *bosh.Handler) { dial(t, boshtest.InMemory(h)) }, err: &bosh.Error{Condition: bosh.PolicyViolation}},
			"max per addr":  {o: with(func(o *bosh.Options) { o.MaxPerAddr = 1 }), state: state, setup: func(h *bosh.Handler) { dial(t, boshtest.InMemory(h)) }, err: &bosh.Error{Condition: bosh.PolicyViolation}},
			"memory":        {o: with(func(o *bosh.Options) { o.MaxMemory = 100 << 10 }), state: export(101 << 10), err: &bosh.Error{Condition: bosh.PolicyViolation}},
			"there already": {o: o, state: state, setup: func(h *bosh.Handler) { _, err := h.Import(state); require.NoError(t, err) }},
		} {
			h := newHandler(t, test.o)
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
		h := newHandler(t, o)
		s, err := h.Import(export(10 << 10))
		require.NoError(t, err)
		assert.Greater(t, h.Stats().Memory, int64(10<<10), "what is imported counts")
		s.Terminate(nil)
		accept(t, h).Close()
		time.Sleep(2 * time.Minute)
		assert.Less(t, h.Stats().Memory, int64(10<<10))
	})
}

// A node that leaves passes on what comes for sessions that it has handed over; who has
// them serves them under the old name; and a request that finds a session on its way is
// answered a little later.
func TestMoveOfNodes(t *testing.T) {
	trios(t, "from a to b, asked at c", stdOptions, func(c *trio) {
		p := dial(c.T, c.at("a"))
		st := accept(c.T, c.h["a"])
		p.rt = c.at("c")
		held := p.hold("")
		c.adopt("a", "b", false)
		state, err := st.Session().Export(nil)
		require.NoError(c, err)
		synctest.Wait()
		require.False(c, held.Answered(), "its front asks again")
		late := boshtest.Post(c, c.at("a"), p.body(1002, x("in")))
		time.Sleep(2 * second)
		require.False(c, late.Answered(), "so does the node itself")
		_, err = c.h["b"].Import(state)
		require.NoError(c, err)
		st = accept(c.T, c.h["b"])
		requireRead(c.T, st, x("in"))
		write(c.T, st, x("out"))
		assert.Equal(c, x("out"), held.Wait().Payload()+late.Wait().Payload())
		p.rid = 1002
		for _, node := range []string{"a", "b", "c"} {
			p.rt = c.at(node)
			held := p.hold("")
			write(c.T, st, x(node))
			assert.Equal(c, x(node), held.Wait().Payload())
		}
		p.rt = c.at("c")
		held = p.hold("")
		held.Cancel()
		synctest.Wait()
		assert.Zero(c, st.Session().Stats().Open, "the new owner hears that a client has left, through two nodes")
		assert.NoError(c, c.h["a"].Drain(c.Context()))
		require.NoError(c, c.h["a"].Shutdown(c.Context()))
		c.adopt("a", "b", true)
		c.Kill("a")
		write(c.T, st, x("end"))
		assert.Equal(c, x("end"), boshtest.Exchange(c, p.rt, p.body(p.rid, "")).Payload())
		requireEnd(c.T, p.send("", "type='terminate'"), "")
		requireEnd(c.T, boshtest.Exchange(c, p.rt, p.body(p.rid+5, "")), bosh.ItemNotFound)
	})
	trios(t, "nobody takes it", stdOptions, func(c *trio) {
		p := dial(c.T, c.at("a"))
		c.adopt("a", "b", false)
		_, err := accept(c.T, c.h["a"]).Session().Export(nil)
		require.NoError(c, err)
		for _, node := range []string{"a", "c"} {
			began := time.Now()
			requireEnd(c.T, boshtest.Exchange(c, c.at(node), p.body(1001, "")), bosh.ItemNotFound)
			assert.InDelta(c, 5, time.Since(began).Seconds(), 1)
		}
		c.adopt("a", "a", false) // which makes no sense
		requireEnd(c.T, boshtest.Exchange(c, c.at("c"), p.body(1001, "")), bosh.ItemNotFound)
	})
}

// A session of a browser at rest takes no more than 2 KB, and 50 µs each way on an idle
// machine.
func TestExportSize(t *testing.T) {
	h := newHandler(t, stdOptions)
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
	_, after, _ := strings.Cut(post(creation()), "sid='")
	sid, _, _ := strings.Cut(after, "'")
	c, err := h.Listener().Accept()
	require.NoError(t, err)
	st = c.(*bosh.Stream)
	for rid = 1001; rid < 1004; rid++ {
		_, err := st.Write([]byte("<message from='juliet@example.com/balcony' to='romeo@example.net/orchard' xmlns='jabber:client'><body>Wherefore art thou?</body></message>"))
		require.NoError(t, err)
		post(fmt.Sprintf("<body rid='%d' sid='%s' xmlns='%s'><presence xmlns='jabber:client'/></body>", rid, sid, nsBind))
		_, err = st.ReadElement(context.Background())
		require.NoError(t, err)
	}
	return rid, st
}

func BenchmarkMove(b *testing.B) {
	o := stdOptions
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
