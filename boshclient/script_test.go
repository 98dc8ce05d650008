package boshclient_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
)

const ns = " xmlns='" + boshtest.NSBind + "'"

// granted is a creation answer.
const granted = "<body sid='secret' wait='60' hold='1' requests='2' inactivity='60' polling='5' maxpause='120' ver='1.6'" + ns + "/>"

var errBroken = errors.New("broken")

// A script is a server played by a test: a RoundTripper with a function for the answer to
// each request, given how many came before. If the function gives nothing, granted answers
// the creation, and all else is held until the next request comes.
type script struct {
	answer func(n int, r *http.Request, b *boshtest.Body) (any, error)
	mute   bool // what is held is held for ever

	mu      sync.Mutex
	seen    []*boshtest.Body
	last    int           // the highest rid
	release chan struct{} // closed when a higher one comes
}

// never is an answer that never comes.
type never struct{}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	b, err := boshtest.ParseBody(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, text)
	}
	s.mu.Lock()
	n := len(s.seen)
	s.seen = append(s.seen, b)
	release := make(chan struct{})
	switch rid, _ := strconv.Atoi(b.Attr("rid")); {
	case rid < s.last:
		close(release)
	case rid > s.last && s.release != nil:
		close(s.release)
		fallthrough
	default:
		s.last, s.release = rid, release
	}
	s.mu.Unlock()
	var a any
	if s.answer != nil {
		if a, err = s.answer(n, r, b); err != nil {
			return nil, err
		}
	}
	switch a := a.(type) {
	case string:
		return response(r, http.StatusOK, a), nil
	case *http.Response:
		return a, nil
	}
	if _, no := a.(never); s.mute && n > 0 || no {
		release = nil
	} else if n == 0 {
		return response(r, http.StatusOK, granted), nil
	}
	select {
	case <-release:
		return response(r, http.StatusOK, body("")), nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

func response(r *http.Request, status int, text string) *http.Response {
	return &http.Response{StatusCode: status, Header: make(http.Header), Body: io.NopCloser(strings.NewReader(text)),
		ContentLength: int64(len(text)), Request: r}
}

// body is an answer with payloads.
func body(payloads string, attrs ...string) string {
	return "<body" + ns + " " + strings.Join(attrs, " ") + ">" + payloads + "</body>"
}

// requests returns what has come so far.
func (s *script) requests() []*boshtest.Body {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*boshtest.Body(nil), s.seen...)
}

// dial opens a session with the script.
func (s *script) dial(t *testing.T, o boshclient.Options) *boshclient.Conn {
	t.Helper()
	c, err := s.tryDial(t, o)
	require.NoError(t, err)
	return c
}

func (s *script) tryDial(t *testing.T, o boshclient.Options) (*boshclient.Conn, error) {
	o.HTTPClient = &http.Client{Transport: s}
	c, err := boshclient.Dial(t.Context(), "https://example.com/bind", &o)
	if err == nil {
		t.Cleanup(func() { c.CloseNow() })
	}
	return c, err
}
