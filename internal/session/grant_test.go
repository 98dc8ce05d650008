package session

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh/internal/wire"
)

func settle(t *testing.T, terms Terms, attrs string) Grant {
	req := &wire.Request{Body: []byte("<body xmlns='" + wire.NS + "' rid='1' " + attrs + "/>")}
	require.NoError(t, req.Parse(wire.Limits{}))
	g, err := terms.Settle(req)
	require.NoError(t, err)
	return g
}

// The interval of polling depends on whether the session polls; -1 says that none
// is announced.
func TestPolling(t *testing.T) {
	const holds, polls = "wait='60' hold='1'", "wait='0' hold='0'"
	for _, test := range [...]struct {
		name       string
		polling    time.Duration
		attrs      string
		want       time.Duration
		announced  int64
		inactivity time.Duration
	}{
		{"default", 0, holds, 0, -1, 30 * time.Second},
		{"default of those that poll", 0, polls, 5 * time.Second, 5, 65 * time.Second},
		{"set", 2 * time.Second, holds, 2 * time.Second, 2, 30 * time.Second},
		{"set, for those that poll", 2 * time.Second, polls, 2 * time.Second, 2, 62 * time.Second},
		{"none", -1, holds, 0, -1, 30 * time.Second},
		{"none, for those that poll", -1, polls, 0, -1, 60 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := settle(t, Terms{Wait: time.Minute, Inactivity: 30 * time.Second, Hold: 1, Polling: test.polling}, test.attrs)
			assert.Equal(t, test.want, g.Polling)
			assert.Equal(t, test.announced, g.Attributes().Polling)
			assert.Equal(t, test.inactivity, g.Inactivity)
		})
	}
}

func TestCache(t *testing.T) {
	var c GrantCache
	a := c.Share(Grant{Hold: 1})
	assert.Equal(t, &Grant{Hold: 1}, a)
	assert.Same(t, a, c.Share(Grant{Hold: 1}))
	b := c.Share(Grant{Hold: 2})
	assert.Equal(t, &Grant{Hold: 2}, b)
	assert.Same(t, b, c.Share(Grant{Hold: 2}))
	assert.Equal(t, 1, a.Hold)
}
