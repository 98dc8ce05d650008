package boshnats_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshnats"
	"github.com/gobosh/bosh/boshtest"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	creation = "<body rid='1' to='x' wait='60' hold='1' ver='1.11' xmlns='http://jabber.org/protocol/httpbind'/>"
	request  = "<body rid='%d' sid='%s' xmlns='http://jabber.org/protocol/httpbind'><a xmlns='u'/></body>"
)

// However many clients ask for a node that was never heard, at a time and with others that
// ask for nodes which do not exist: nobody is told that a session is gone which lives.
func TestNeverHeardByMany(t *testing.T) {
	t.Parallel()
	all, _ := gated(t, 3, true, echo)
	var wg sync.WaitGroup
	for i := range 30 {
		sid := boshtest.Exchange(t, boshtest.InMemory(all[0].h), creation).Attr("sid")
		wg.Go(func() {
			r := boshtest.Exchange(t, boshtest.InMemory(all[1].h), fmt.Sprintf(request, 2, sid))
			assert.Equal(t, "<a xmlns='u'/>", r.Payload(), "%s", r)
		})
		if i%10 == 0 {
			wg.Go(func() {
				r := boshtest.Exchange(t, boshtest.InMemory(all[1].h), fmt.Sprintf(request, 2, fmt.Sprintf("x.nobody-%d", i)))
				assert.Equal(t, "item-not-found", r.Attr("condition"))
			})
		}
	}
	wg.Wait()
}

// A loss of the network is no proof of a death.
func TestLostWhileAsking(t *testing.T) {
	t.Parallel()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	require.NoError(t, err)
	go s.Start()
	defer s.Shutdown()
	require.True(t, s.ReadyForConnections(10*time.Second))
	connect := func() *nats.Conn {
		nc, err := nats.Connect(s.ClientURL(), nats.MaxReconnects(-1))
		require.NoError(t, err)
		t.Cleanup(nc.Close)
		return nc
	}
	other, own := connect(), connect()
	_, err = other.Subscribe("bosh.up", func(m *nats.Msg) {
		if string(m.Data) == "secret" {
			own.Close() // before anybody answers
		}
	})
	require.NoError(t, err)
	require.NoError(t, other.Flush())
	n, err := boshnats.Join(own, boshnats.Options{Logger: slog.New(slog.DiscardHandler), Heartbeat: 2 * time.Second})
	require.NoError(t, err)
	defer n.Leave()
	h := bosh.New(bosh.Options{Node: n.Name(), Relay: n.Relay})
	defer h.Close()
	n.Serve(h)
	require.NoError(t, other.Publish("bosh.up", []byte("other INSTANCE 7 ")))
	require.Eventually(t, func() bool { return len(n.Nodes()) == 2 }, 5*time.Second, time.Millisecond)
	r := boshtest.Post(t, boshtest.InMemory(h), fmt.Sprintf(request, 2, "x.secret"))
	assert.Error(t, r.Err(), "the connection is closed")
}

// A request for a session on its way from one process to another is asked again until the
// session has come, and the client sees a late answer.
func TestMovedIsAskedAgain(t *testing.T) {
	t.Parallel()
	all := cluster(t, 2, func(_ *server.Options, _ *boshnats.Options, o *bosh.Options) {
		o.Serve = func(s *bosh.Stream) { s.Receive(func(b []byte, err error) { s.WriteElement(context.Background(), b) }) }
	})
	sid := boshtest.Exchange(t, boshtest.InMemory(all[0].h), creation).Attr("sid")
	var state []byte
	for s := range all[0].h.Sessions() {
		require.NoError(t, s.Streams()[0].Detach(t.Context()))
		var err error
		state, err = s.Export(nil)
		require.NoError(t, err)
	}
	late := boshtest.Post(t, boshtest.InMemory(all[1].h), fmt.Sprintf(request, 2, sid))
	time.Sleep(100 * time.Millisecond)
	_, err := all[0].h.Import(state)
	require.NoError(t, err)
	assert.Equal(t, "<a xmlns='u'/>", late.Wait().Payload(), "%s", late.Wait())
}

// Of two processes of one name that could not see each other as they joined the later one
// gives way, and the sessions of the other go on.
func TestNameTakenBehindCut(t *testing.T) {
	t.Parallel()
	all, gates := gated(t, 2, true, echo)
	older, err := boshnats.Join(all[0].nc, boshnats.Options{Name: "both", Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer older.Leave()
	serve := func(n *boshnats.Node) *bosh.Handler {
		h := bosh.New(bosh.Options{Framing: bosh.Elements, Serve: echo, Logger: slog.New(slog.DiscardHandler), Node: n.Name(), Relay: n.Relay})
		n.Serve(h)
		t.Cleanup(func() { h.Close() })
		return h
	}
	h := serve(older)
	sid := boshtest.Exchange(t, boshtest.InMemory(h), creation).Attr("sid")
	time.Sleep(500 * time.Millisecond) // two heartbeats
	var log strings.Builder
	younger, err := boshnats.Join(all[1].nc, boshnats.Options{Name: "both", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err, "there is no route")
	defer younger.Leave()
	late := serve(younger)
	gates[1][0].set(false, false)
	require.Eventually(t, late.Draining, 10*time.Second, time.Millisecond)
	time.Sleep(time.Second)
	for i := range all {
		for rid := range 5 {
			r := boshtest.Exchange(t, boshtest.InMemory(all[i].h), fmt.Sprintf(request, 2+rid+5*i, sid))
			assert.Equal(t, "<a xmlns='u'/>", r.Payload(), "%s", r)
		}
	}
	assert.False(t, h.Draining())
	younger.Leave()
	assert.Contains(t, log.String(), "give it a name of its own")
}
