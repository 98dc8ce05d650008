package boshtest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A script answers requests by rid, 1 being the creation. An answer of "hold"
// holds the request for a minute.
func script(answers map[string]string) http.RoundTripper {
	return InMemory(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		b, err := ParseBody(data)
		if err != nil {
			panic(err)
		}
		answer := answers[b.Attr("rid")]
		if strings.HasPrefix(answer, "hold") {
			select {
			case <-time.After(time.Minute):
			case <-r.Context().Done():
			}
			answer = strings.TrimPrefix(answer, "hold")
		}
		io.WriteString(w, "<body "+answer+bodyNS+"/>")
	}))
}

const creation = "sid='s' wait='60' hold='1' requests='2'"

// TestEndTellsTheCause has two requests end with different conditions: the
// innocent one comes first, and says less.
func TestEndTellsTheCause(t *testing.T) {
	for _, test := range []struct{ first, second, want string }{
		{"type='terminate' condition='other-request'", "type='terminate' condition='policy-violation'", "policy-violation"},
		{"type='terminate' condition='item-not-found'", "type='terminate' condition='bad-request'", "bad-request"},
		{"type='terminate' condition='system-shutdown'", "type='terminate' condition='item-not-found'", "system-shutdown"},
		{"type='terminate'", "type='terminate' condition='item-not-found'", ""},
		{"type='terminate'", "hold", ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			c, err := Dial(t.Context(), Config{Rid: 1, Manual: true, Transport: script(map[string]string{
				"1": creation, "2": test.first, "3": test.second,
			})})
			require.NoError(t, err)
			defer c.Close()
			start := time.Now()
			c.mu.Lock() // so that both go out
			c.queue = append(c.queue, item{kind: empty}, item{kind: empty})
			c.pump()
			c.mu.Unlock()
			_, err = c.Recv(t.Context())
			assert.Equal(t, test.want, conditionOf(err))
			if test.want == "" {
				assert.ErrorIs(t, err, io.EOF)
			} else {
				assert.ErrorContains(t, err, test.want)
			}
			assert.ErrorIs(t, c.Send(t.Context(), "<a/>"), err)
			if test.second == "hold" {
				assert.Equal(t, endGrace, time.Since(start), "waits no longer for the others")
			}
		})
	}
}

func TestReportIsHeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := Dial(t.Context(), Config{Rid: 1, Manual: true, Acks: true, Transport: script(map[string]string{
			"1": creation, "2": "hold", "3": "report='2' time='1000'",
		})})
		require.NoError(t, err)
		defer c.Close()
		require.NoError(t, c.Poll(t.Context()))
		time.Sleep(time.Second)
		assert.Zero(t, c.Stats().Repeats)
		require.NoError(t, c.Poll(t.Context()))
		synctest.Wait()
		assert.Equal(t, 1, c.Stats().Repeats)
	})
}

func TestServerThatDoesNotHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := Dial(t.Context(), Config{Rid: 1, Transport: script(map[string]string{"1": creation})})
		require.NoError(t, err)
		defer c.Close()
		time.Sleep(10*time.Second + 1)
		synctest.Wait()
		assert.Equal(t, 1+11, c.Stats().Requests, "once a second, not in a loop")
	})
}

func TestNoFurtherStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := Dial(t.Context(), Config{Rid: 1, Manual: true, XMPP: true, Transport: script(map[string]string{"1": creation})})
		require.NoError(t, err)
		defer c.Close()
		_, err = c.AddStream(t.Context(), "a")
		assert.ErrorContains(t, err, "knows no further streams")

		c, err = Dial(t.Context(), Config{Rid: 1, Manual: true, XMPP: true, Transport: script(map[string]string{
			"1": creation + " stream='a'",
			"3": "type='terminate' condition='host-unknown' stream='b'",
			"4": "hold stream='c'",
		})})
		require.NoError(t, err)
		defer c.Close()
		_, err = c.AddStream(t.Context(), "a")
		assert.ErrorContains(t, err, "did not open")
		_, err = c.AddStream(t.Context(), "a")
		assert.ErrorIs(t, err, &EndError{Condition: "host-unknown"})
		assert.NoError(t, c.Err(), "only the stream has ended")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = c.AddStream(ctx, "a")
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		name, err := c.AddStream(t.Context(), "a")
		assert.Error(t, err, name)
	})
}

func TestLegacyStatusEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		rt := InMemory(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if n++; n == 1 {
				io.WriteString(w, "<body "+creation+bodyNS+"/>")
				return
			}
			w.WriteHeader(http.StatusNotFound)
		}))
		c, err := Dial(t.Context(), Config{Ver: "-", Transport: rt})
		require.NoError(t, err)
		defer c.Close()
		_, err = c.Recv(t.Context())
		var status *StatusError
		assert.True(t, errors.As(err, &status))
		assert.EqualError(t, err, "boshtest: HTTP status 404 Not Found")
		assert.ErrorIs(t, c.Terminate(t.Context()), err)
	})
}
