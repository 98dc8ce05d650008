//go:build !race

package direct

import (
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What a read tells of what is behind it saves another read.
func TestReceiveMore(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer client.Close()
	accepted, err := ln.Accept()
	require.NoError(t, err)
	defer accepted.Close()
	c := &conn{rwc: accepted}
	c.initRaw()
	require.True(t, c.tells, "Linux 4.18 can tell")

	const closeWait = 8 // of tcp(7), the first byte of tcp_info
	state := func() (v int) {
		c.raw.Control(func(fd uintptr) { v, _ = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_INFO) })
		return v & 0xff
	}
	receive := func(room int) (text string, more bool, err error) {
		p := make([]byte, room)
		c.raw.Read(func(fd uintptr) bool {
			var n int
			if n, more, err = c.receiveMore(fd, p); n >= 0 {
				text = string(p[:n])
			}
			return err != syscall.EAGAIN
		})
		return text, more, err
	}
	expect := func(room int, text string, more bool) {
		t.Helper()
		got, is, err := receive(room)
		assert.NoError(t, err)
		assert.Equal(t, text, got)
		assert.Equal(t, more, is)
	}
	io.WriteString(client, "abc")
	expect(10, "abc", false)
	io.WriteString(client, "abcdef")
	expect(4, "abcd", true)
	expect(10, "ef", false)
	io.WriteString(client, "last")
	client.(*net.TCPConn).CloseWrite()
	for state() != closeWait {
		runtime.Gosched()
	}
	expect(10, "last", true)
	got, _, err := receive(10)
	assert.Empty(t, got)
	assert.NoError(t, err)
}
