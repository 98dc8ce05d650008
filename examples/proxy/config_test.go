package main

import (
	"errors"
	"flag"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	cfg, err := parse(strings.Fields("-upstream xmpp.example.org:5223 -tls direct -domain example.org -domain MÜNCHEN.de -route a.example:5222 "+
		"-allow-net 10.0.0.1/8 -trust 127.0.0.1 -trust ::1/128 -origin https://a.example -path bosh/ -wait 30s -max-stanza 1000 -keepalive 0 -direct"), io.Discard)
	require.NoError(t, err)
	c := &cfg.connector
	assert.Equal(t, "xmpp.example.org:5223", c.fixed.String())
	assert.Equal(t, directTLS, c.fixed.tls)
	assert.Equal(t, map[string]bool{"example.org": true, "xn--mnchen-3ya.de": true}, c.domains)
	assert.Len(t, c.routes, 1)
	assert.Equal(t, prefixes("10.0.0.0/8"), c.guard.allowed)
	assert.Equal(t, prefixes("127.0.0.1/32", "::1/128"), cfg.frontage.trusted)
	assert.True(t, cfg.options.AllowOrigin("https://a.example"))
	assert.False(t, cfg.options.AllowOrigin("https://b.example"))
	assert.Equal(t, "/bosh", cfg.path)
	assert.Equal(t, 30*time.Second, cfg.options.Wait)
	assert.Equal(t, 1000, c.maxStanza)
	assert.Zero(t, cfg.keepalive)
	assert.True(t, cfg.options.Direct)

	cfg, err = parse(strings.Fields("-upstream Example.org"), io.Discard)
	require.NoError(t, err)
	assert.Nil(t, cfg.connector.fixed)
	assert.Equal(t, "example.org", cfg.connector.via)
	assert.Nil(t, cfg.connector.domains)
	assert.Nil(t, cfg.options.AllowOrigin)
	assert.False(t, cfg.options.Direct)

	cfg, err = parse(strings.Fields("-domain *"), io.Discard)
	require.NoError(t, err)
	assert.Nil(t, cfg.connector.domains)
}

func TestParseRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"":                                    "open relay",
		"-upstream a:b":                       "-upstream",
		"-upstream a@b":                       "-upstream",
		"-upstream a:1 -tls some":             "-tls",
		"-upstream example.org -tls none":     "-tls",
		"-domain a.example -tls direct":       "-tls",
		"-upstream a:1 -cert x":               "-key",
		"-upstream a:1 -ca /nowhere/at/all":   "nowhere",
		"-upstream a:1 -ca config_test.go":    "no certificate",
		"-upstream a:1 -route a":              "-route",
		"-upstream a:1 -domain a@b":           "-domain",
		"-upstream a:1 -trust 1.2.3":          "-trust",
		"-upstream a:1 -allow-net 1.2.3.4/40": "-allow-net",
		"-upstream a:1 -public-url example":   "-public-url",
		"-upstream a:1 -path /":               "-path",
		"-upstream a:1 -path /{x}":            "-path",
		"-upstream a:1 more":                  "more",
		"-upstream a:1 -wait x":               "-wait",
		"-upstream a:1 -unknown":              "-unknown",
	} {
		var said strings.Builder
		_, err := parse(strings.Fields(args), &said)
		require.Error(t, err, args)
		assert.Contains(t, said.String(), want, args)
	}
	_, err := parse([]string{"-h"}, io.Discard)
	assert.True(t, errors.Is(err, flag.ErrHelp))
}
