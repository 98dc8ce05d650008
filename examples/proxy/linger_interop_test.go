//go:build interop

package main

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gobosh/bosh/boshtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/sasl"
)

// A proxy about to end serves its sessions until the time is over, and no new ones. No
// stanza is lost meanwhile: the client has it, or the server keeps it.
func TestLingerBeforeProsody(t *testing.T) {
	s := startProsody(t)
	const lingers = 2 * time.Second
	p := startProxy(t, "-upstream", s.c2s, "-insecure", "-linger", lingers.String())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	var background sync.WaitGroup
	defer background.Wait()
	defer cancel()
	c := dialBOSH(t, p.url)
	alice := login(t, c, sasl.ScramSha256, "alice")
	bob := tcpUser(t, s.c2s, "bob")
	var arrived, kept, returned mailbox
	background.Go(func() { arrived.receive(ctx, c, "chat") })
	background.Go(func() { returned.receive(ctx, bob, "error") })

	began := time.Now()
	require.NoError(t, p.process.cmd.Process.Signal(syscall.SIGTERM))
	n, early := 0, 0
	say := func() {
		bob.say(message(alice.jid, fmt.Sprint("m", n), "hello"))
		n++
		time.Sleep(2 * time.Millisecond)
	}
	for lives := true; lives; {
		say()
		if n == 100 {
			_, err := boshtest.Dial(ctx, boshtest.Config{URL: p.url + "/http-bind", To: "localhost", XMPP: true})
			assert.ErrorContains(t, err, "system-shutdown", "a new session")
			early = n
		}
		select {
		case <-c.Done():
			lives = false
		case <-ctx.Done():
			t.Fatal("the session does not end")
		default:
		}
	}
	lived := time.Since(began)
	assert.GreaterOrEqual(t, lived, lingers)
	assert.ErrorContains(t, c.Err(), "system-shutdown")
	require.Positive(t, early, "the session has lived on")
	for range 50 {
		say()
	}
	<-p.process.done
	assert.NoError(t, p.process.err)

	again := dialTCP(t, s.c2s)
	login(t, mailing{again, &kept}, sasl.Plain, "alice")
	background.Go(func() { kept.receive(ctx, again, "chat") })
	missing := func() (ids []string) {
		for i := range n {
			if id := fmt.Sprint("m", i); arrived.get(id)+kept.get(id)+returned.get(id) == 0 {
				ids = append(ids, id)
			}
		}
		return ids
	}
	for begun := time.Now(); len(missing()) > 0 && time.Since(begun) < 5*time.Second; {
		time.Sleep(20 * time.Millisecond)
	}
	assert.Empty(t, missing(), "of %d messages", n)
	for _, w := range []speaker{again, bob} { // so that nobody waits for more
		w.Send(ctx, "<presence xmlns='jabber:client' type='unavailable'/>", streamEnd)
	}
	has := 0
	for i := range n {
		a := arrived.get(fmt.Sprint("m", i))
		assert.LessOrEqual(t, a, 1)
		has += a
	}
	assert.Greater(t, has, early, "what came after the signal")
	t.Logf("%d messages: %d came to the client, the session ended %v after the signal", n, has, lived.Round(time.Millisecond))
}
