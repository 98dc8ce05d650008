package demo_test

import (
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh/internal/demo"
)

// An address is free, and is not one that the system gives to a connection.
func TestFreeAddr(t *testing.T) {
	seen := make(map[string]bool)
	for range 50 {
		addr, err := net.ResolveTCPAddr("tcp", demo.FreeAddr())
		require.NoError(t, err)
		assert.Less(t, addr.Port, 32768)
		l, err := net.ListenTCP("tcp", addr)
		require.NoError(t, err)
		defer l.Close()
		seen[addr.String()] = true
	}
	assert.Len(t, seen, 50)
}
