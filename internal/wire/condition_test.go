package wire

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestConditions(t *testing.T) {
	for condition, status := range map[string]int{
		"bad-request": 400, "policy-violation": 403, "item-not-found": 404, "host-gone": 0, "see-other-uri": 0,
	} {
		assert.True(t, Defined(condition), condition)
		assert.Equal(t, status, LegacyStatus(condition), condition)
	}
	for _, none := range []string{"", "Bad-request", "not-found"} {
		assert.False(t, Defined(none), none)
		assert.Zero(t, LegacyStatus(none), none)
	}
}
