//go:build linux

package main

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gobosh/bosh"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestFloor compares the floor's answers with the library's.
func TestFloor(t *testing.T) {
	answers := make(map[string][]string)
	for _, kind := range []string{kindFloor, kindElements, kindBytes} {
		synctest.Test(t, func(t *testing.T) {
			answers[kind] = exchange(t, kind)
		})
	}
	assert.Equal(t, answers[kindFloor], answers[kindElements])
	assert.Equal(t, answers[kindFloor], answers[kindBytes])
}

// exchange creates a session, sends two stanzas, gets one, and terminates it. It returns the
// answers.
func exchange(t *testing.T, kind string) (answers []string) {
	h, push := newServer(kind)
	if h, ok := h.(*bosh.Handler); ok {
		defer h.Close()
	}
	sid, rid := "", 1000
	post := func(payload, attrs string) chan string {
		rid++
		body := fmt.Sprintf("<body rid='%d'%s xmlns='http://jabber.org/protocol/httpbind'>%s</body>", rid, attrs, payload)
		if sid != "" {
			body = strings.Replace(body, "<body", "<body sid='"+sid+"'", 1)
		}
		answer := make(chan string, 1)
		go func() {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)))
			head := maps.Clone(w.Header())
			head.Del("Content-Length") // net/http adds it if it is missing
			answer <- fmt.Sprint(w.Code, head, w.Body)
		}()
		synctest.Wait()
		return answer
	}
	created := <-post("", " to='example.com' wait='60' hold='1' ver='1.11'")
	sid = string(field([]byte(created), " sid='"))
	require.NotEmpty(t, sid)
	answers = append(answers, strings.ReplaceAll(created, sid, "SID"))
	held := post("", "")
	for range 2 {
		next := post(stanza, "")
		answers = append(answers, <-held)
		held = next
	}
	push([]byte(stanza))
	answers = append(answers, <-held)
	held = post("", "")
	next := post("", " type='terminate'")
	return append(answers, <-held, <-next)
}
