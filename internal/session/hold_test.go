package session

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// created returns a life whose creation has been answered.
func created(t *testing.T, hold int) *life {
	l := newLife(t, 1, hold)
	l.passes(time.Second)
	require.Len(t, l.woken, 1)
	l.deliver(0, false)
	return l
}

// arrives has the next request arrive, with n payloads.
func (l *life) arrives(n int, spare bool, limit time.Duration) {
	x := &Exchange{Carrier: testLine(1), Limit: limit}
	l.open[x] = true
	l.rid++
	payloads := ""
	for range n {
		payloads += "<c xmlns='u'/>"
	}
	req := l.parse("<body xmlns='http://jabber.org/protocol/httpbind' rid='" + strconv.FormatInt(l.rid, 10) + "' sid='sid'>" + payloads + "</body>")
	l.m.Arrive(l.now, req, x)
	l.m.Receive(l.now, Request{Request: req, Sum: uint64(l.rid), Share: -1, Spare: spare}, x)
	l.m.Settle(l.now)
}

// As many requests as hold has are held, and no more.
func TestHold(t *testing.T) {
	for hold := 1; hold <= 3; hold++ {
		l := created(t, hold)
		for range hold {
			l.arrives(0, false, 0)
		}
		l.act()
		l.passes(time.Second)
		assert.Empty(t, l.woken, "hold %d", hold)
		l.arrives(0, false, 0)
		l.act()
		l.passes(time.Second)
		require.Len(t, l.woken, 1, "hold %d", hold)
		assert.EqualValues(t, 1001, l.woken[0].Rid, "the oldest")
	}
}

// Once the application has nothing to do, and no request is too many, there is nothing to
// look at.
func TestLook(t *testing.T) {
	for hold := 1; hold <= 2; hold++ {
		l := created(t, hold)
		for range hold {
			l.arrives(1, true, 0)
		}
		require.True(t, l.m.TakeWatch())
		done, settle := l.m.Look(false)
		assert.Equal(t, []bool{false, false}, []bool{done, settle}, "the application works")
		for l.st.In.Len() > 0 {
			before := l.st.In.Behind()
			l.st.In.Next(nil)
			l.m.Consumed(l.st, before)
		}
		l.m.Listens(l.st)
		l.m.Returns(l.st)
		done, settle = l.m.Look(false)
		assert.Equal(t, []bool{true, false}, []bool{done, settle}, "hold %d", hold)
	}
}

// The client waits when there is more than ReadBuffer, and not before.
func TestFull(t *testing.T) {
	l := created(t, 1)
	l.arrives(1, false, 0)
	config := *l.m.cfg
	l.m.cfg = &config
	config.ReadBuffer = l.st.In.Behind()
	assert.False(t, l.m.full())
	config.ReadBuffer--
	assert.True(t, l.m.full())
}

// The earliest limit of the open requests counts.
func TestLimit(t *testing.T) {
	l := created(t, 3)
	l.arrives(0, false, 0)
	assert.Equal(t, never, l.m.limit())
	l.arrives(0, false, l.now+5*time.Second)
	assert.Equal(t, l.now+5*time.Second, l.m.limit())
	l.arrives(0, false, l.now+3*time.Second)
	assert.Equal(t, l.now+3*time.Second, l.m.limit())
}
