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
		// Each network of the registries of IANA for special purposes, at its edges.
		"9.255.255.255": true, "10.255.255.255": false, "11.0.0.0": true, "100.63.255.255": true, "100.127.255.255": false,
		"126.255.255.255": true, "128.0.0.0": true, "169.253.255.255": true, "169.255.0.0": true, "172.15.255.255": true,
		"192.0.0.0": false, "192.0.0.8": false, "192.0.0.255": false, "192.0.1.0": true, "192.31.196.1": false, "192.52.193.1": false,
		"192.88.99.1": false, "192.167.255.255": true, "192.169.0.0": true, "192.175.48.1": false, "198.17.255.255": true,
		"198.19.255.255": false, "198.20.0.0": true, "198.51.100.255": false, "223.255.255.255": true, "239.255.255.255": false,
		"::ffff:0:127.0.0.1": false, "::ffff:0:8.8.8.8": false, "64:ff9b::8.8.8.8": false, "64:ff9b:1::1": false, "100::1": false,
		"100:0:0:1::1": false, "1fff:ffff::": false, "2001::1": false, "2001:1::1": false, "2001:2::1": false, "2001:3::1": false,
		"2001:4:112::1": false, "2001:10::1": false, "2001:20::1": false, "2001:30::1": false, "2001:1ff:ffff::": false,
		"2001:200::1": true, "2001:db9::1": true, "2003::1": true, "2620:4f:8000::1": false, "2620:4f:8001::1": true,
		"3fff:fff::1": false, "3fff:1000::1": true, "4000::1": false, "5f00::1": false, "fe80::1": false, "ff0e::1": false,
		// Where clouds tell machines their secrets.
		"168.63.129.16": false, "100.100.100.200": false, "192.0.0.192": false, "169.254.170.2": false, "169.254.42.42": false,
		"fd00:ec2::254": false, "fd20:ce::254": false, "fe80::a9fe:a9fe": false, "192.80.8.124": false, "::ffff:169.254.169.254": false,
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
