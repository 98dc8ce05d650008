//go:build linux

package main

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
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
	for _, k := range kinds {
		if !slices.Contains(full, k.does) && k.does != doesPipelined || k.does == doesBare {
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			answers[k.name] = exchange(t, &k)
		})
		assert.Equal(t, answers["floor"], answers[k.name], k.name)
	}
}

// exchange creates a session, sends two stanzas, gets one, and terminates it. It returns the
// answers.
func exchange(t *testing.T, k *kind) (answers []string) {
	srv := k.new()
	if h, ok := srv.Handler.(*bosh.Handler); ok {
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
			srv.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)))
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
	srv.push([]byte(stanza))
	answers = append(answers, <-held)
	held = post("", "")
	next := post("", " type='terminate'")
	return append(answers, <-held, <-next)
}
