package main

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
)

// Unread output and unfinished stanzas of servers have one limit for all sessions. Beyond
// it the largest sessions are ended, and others go on.
func TestBudget(t *testing.T) {
	for name, beginning := range map[string]string{
		"unfinished": "<message><body>" + strings.Repeat("x", 900_000),
		"not taken":  "<message><body>" + strings.Repeat("x", 700_000) + "</body></message><message><body>" + strings.Repeat("x", 700_000) + "</body></message>",
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				modest, m := r.bound()
				const greedy = 8
				most := int64(0)
				for range greedy {
					c, s := r.bound(func(cfg *boshtest.Config) { cfg.Manual = true })
					go io.WriteString(s, beginning)
					go func() {
						io.Copy(io.Discard, s.in)
						s.Close()
					}()
					defer c.Close()
					synctest.Wait()
					most = max(most, r.proxy.budget.taken())
				}
				assert.LessOrEqual(t, most, int64(4<<20))
				assert.Greater(t, most, int64(2<<20))
				ended := map[string]int64{}
				for range 100 {
					time.Sleep(100 * time.Millisecond)
					ended = r.proxy.count.ended.get()
				}
				assert.GreaterOrEqual(t, ended["memory"], int64(greedy-4), "%v", ended)

				for i := range 10 {
					m.write(fmt.Sprintf("<message id='%d'><body>%s</body></message>", i, strings.Repeat("x", 100_000)))
					r.recv(modest, fmt.Sprintf("id='%d'", i))
				}
				require.NoError(t, modest.Terminate(t.Context()))
				m.pong("")
				m.farewell()
				r.proxy.bosh.Close()
				r.proxy.bridges.Wait()
				assert.Zero(t, r.proxy.budget.taken())
			}, withOptions(bosh.Options{MaxMemory: serverShare * 4 << 20}))
		})
	}
}

// The client hears of it.
func TestBudgetCondition(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		c, s := r.bound()
		go func() {
			io.WriteString(s, "<message><body>"+strings.Repeat("x", 100_000))
			io.Copy(io.Discard, s.in)
			s.Close()
		}()
		assert.EqualValues(t, "policy-violation", r.ended(c).Condition)
		r.proxy.bridges.Wait()
		assert.Equal(t, map[string]int64{"memory": 1}, r.proxy.count.ended.get())
	}, withOptions(bosh.Options{MaxMemory: serverShare * 64 << 10}))
}

// A buffer is no larger than the largest stanza needs, and small when it has gone.
func TestSplitSize(t *testing.T) {
	s := &splitter{max: 1 << 20}
	_, err := cut(s, header+"<a>"+strings.Repeat("x", 1<<20-100), 4096)
	require.NoError(t, err)
	assert.LessOrEqual(t, s.size(), 1<<20+minBuffer)
	_, err = cut(s, "</a><b>", 4096)
	require.NoError(t, err)
	s.space()
	assert.LessOrEqual(t, s.size(), 4*minBuffer)
	assert.Equal(t, 3, s.pending())
}
