package main

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestPublic(t *testing.T) {
	for text, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1111": true, "::ffff:8.8.8.8": true,
		"127.0.0.1": false, "127.8.9.10": false, "::1": false, "::ffff:127.0.0.1": false,
		"10.0.0.1": false, "172.16.0.1": false, "172.31.255.255": false, "192.168.1.1": false, "::ffff:10.0.0.1": false,
		"172.32.0.1": true, "100.64.0.1": false, "100.128.0.1": true, "169.254.169.254": false, "fe80::1%eth0": false,
		"fc00::1": false, "fd12::1": false, "fec0::1": false, "0.0.0.0": false, "0.1.2.3": false, "::": false,
		"224.0.0.1": false, "ff02::1": false, "255.255.255.255": false, "240.0.0.1": false, "198.18.0.1": false,
		"192.0.2.1": false, "203.0.113.1": false, "2001:db8::1": false,
		"64:ff9b::7f00:1": false, "2002:7f00:1::": false, "::7f00:1": false,
	} {
		err := guard{}.check(netip.MustParseAddr(text))
		assert.Equal(t, want, err == nil, "%s: %v", text, err)
	}
}

func TestAllowed(t *testing.T) {
	g := guard{allowed: prefixes("10.1.0.0/16", "::1/128")}
	for text, want := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "::1": true, "8.8.8.8": true,
		"10.2.0.1": false, "127.0.0.1": false, "::2": false,
	} {
		assert.Equal(t, want, g.check(netip.MustParseAddr(text)) == nil, text)
	}
}
