package netconn

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A conn is a connection with a number.
type conn struct {
	net.Conn
	n int
}

var anywhere = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80}

func TestListener(t *testing.T) {
	var refused []int
	l := NewListener(anywhere, 2, func(c net.Conn) { refused = append(refused, c.(conn).n) })
	assert.Equal(t, anywhere, l.Addr())
	assert.False(t, l.Closed())
	require.NoError(t, l.Deliver(conn{n: 1}))
	require.NoError(t, l.Deliver(conn{n: 2}))
	require.Equal(t, ErrFull, l.Deliver(conn{n: 3}))
	c, err := l.Accept()
	require.NoError(t, err)
	assert.Equal(t, 1, c.(conn).n, "first come, first served")
	require.NoError(t, l.Deliver(conn{n: 4}))

	require.NoError(t, l.Close())
	assert.True(t, l.Closed())
	assert.Equal(t, []int{2, 4}, refused)
	assert.Equal(t, net.ErrClosed, l.Deliver(conn{n: 5}))
	for range 2 {
		_, err := l.Accept()
		assert.ErrorIs(t, err, net.ErrClosed)
		assert.ErrorIs(t, l.Close(), net.ErrClosed)
	}
	assert.Equal(t, []int{2, 4}, refused)
}

// A place that is reserved is nobody else's.
func TestReserve(t *testing.T) {
	l := NewListener(anywhere, 2, nil)
	require.NoError(t, l.Reserve())
	require.NoError(t, l.Deliver(conn{n: 1}))
	assert.Equal(t, ErrFull, l.Reserve())
	assert.Equal(t, ErrFull, l.Deliver(conn{n: 2}))
	_, err := l.Accept()
	require.NoError(t, err)
	require.NoError(t, l.Deliver(conn{n: 3}))
	assert.Equal(t, ErrFull, l.Reserve())
	require.NoError(t, l.Fill(conn{n: 4}))
	for _, n := range []int{3, 4} {
		c, err := l.Accept()
		require.NoError(t, err)
		assert.Equal(t, n, c.(conn).n)
	}
	require.NoError(t, l.Reserve())
	l.Shut()
	assert.Equal(t, net.ErrClosed, l.Fill(conn{n: 5}))
	assert.Equal(t, net.ErrClosed, l.Reserve())
}

// Its owner's first Close is no error, whoever has shut the Listener before.
func TestCloseAfterShut(t *testing.T) {
	l := NewListener(anywhere, 2, nil)
	l.Shut()
	l.Shut()
	_, err := l.Accept()
	assert.ErrorIs(t, err, net.ErrClosed)
	assert.NoError(t, l.Close())
	assert.ErrorIs(t, l.Close(), net.ErrClosed)
	l.Shut()
}

func TestAcceptWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewListener(anywhere, 1, nil)
		got := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := l.Accept()
				got <- err
			}()
		}
		synctest.Wait()
		require.Empty(t, got)
		require.NoError(t, l.Deliver(conn{}))
		require.NoError(t, <-got)
		synctest.Wait()
		require.Empty(t, got)
		require.NoError(t, l.Close())
		assert.ErrorIs(t, <-got, net.ErrClosed)
	})
}

// No connection is lost between Deliver and Close: each is accepted, refused,
// or an error of Deliver.
func TestCloseWhileDelivering(t *testing.T) {
	for range 200 {
		var refused, accepted, failed atomic.Int32
		l := NewListener(anywhere, 4, func(net.Conn) { refused.Add(1) })
		var wg sync.WaitGroup
		const n = 4
		for range n {
			wg.Go(func() {
				if l.Deliver(conn{}) != nil {
					failed.Add(1)
				}
			})
		}
		wg.Go(func() {
			for {
				if _, err := l.Accept(); err != nil {
					return
				}
				accepted.Add(1)
			}
		})
		wg.Go(func() { l.Close() })
		wg.Wait()
		require.EqualValues(t, n, refused.Load()+accepted.Load()+failed.Load())
	}
}

// A Listener that gets no connections says so, until it is closed.
func TestUnused(t *testing.T) {
	l := NewListener(anywhere, 1, func(net.Conn) {})
	l.Unused(io.ErrNoProgress)
	_, err := l.Accept()
	assert.ErrorIs(t, err, io.ErrNoProgress)
	assert.NoError(t, l.Close())
	_, err = l.Accept()
	assert.ErrorIs(t, err, net.ErrClosed)
}
