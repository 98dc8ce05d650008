package demo

import (
	"math/rand/v2"
	"net"
	"strconv"
)

// FreeAddr returns an address of loopback without a listener, for a server that is told
// its address. The port is below the ports of outgoing connections, so that none of them
// takes it before the server does.
func FreeAddr() string {
	for {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(10000+rand.IntN(20000)))
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
}
