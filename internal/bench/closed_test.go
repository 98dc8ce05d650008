//go:build linux

package main

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The router says the same behind the floor and behind the library, to the generator of
// one thread.
func TestRouter(t *testing.T) {
	said := make(map[string][]string)
	for _, k := range kinds {
		if k.does != doesRoute && k.does != doesRouting {
			continue
		}
		s := k.new()
		if h, ok := s.Handler.(*bosh.Handler); ok {
			defer h.Close()
		}
		srv := httptest.NewServer(s)
		defer srv.Close()
		r := &run{server: &process{addr: srv.Listener.Addr().String()}, close: func() {}}
		ps, err := r.people(2, 2)
		require.NoError(t, err, k.name)
		require.NoError(t, ps.gather(), k.name)
		a, b := ps.all[0], ps.all[1]
		for _, p := range ps.all {
			p.Got = func(payloads []byte) { said[k.name] = append(said[k.name], p.name+": "+string(payloads)) }
			p.Send(nil)
		}
		a.Send([]byte(ping))
		require.NoError(t, ps.run(func() bool { return len(said[k.name]) == 1 }, 10*time.Second), k.name)
		a.Send([]byte("<message xmlns='jabber:client' to='" + b.name + "'><body>hi</body></message>"))
		require.NoError(t, ps.run(func() bool { return strings.Contains(strings.Join(said[k.name], ""), "hi") }, 10*time.Second), k.name)
		said[k.name] = []string{said[k.name][0], find(said[k.name], b.name)}
		r.close()
	}
	assert.Len(t, said, 3)
	for name, texts := range said {
		assert.Equal(t, said["floor-route"], texts, name)
	}
}

// find returns the text of a person.
func find(texts []string, name string) string {
	for _, text := range texts {
		if strings.HasPrefix(text, name) {
			return text
		}
	}
	return ""
}
