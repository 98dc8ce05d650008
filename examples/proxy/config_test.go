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

// Networks, origins and domains mean the same however they are written.
func TestParseForms(t *testing.T) {
	cfg, err := parse(strings.Fields("-upstream a:1 -trust ::ffff:192.0.2.1 -trust ::ffff:127.0.0.0/104 -allow-net ::ffff:10.0.0.1/112 "+
		"-origin HTTPS://Example.org:443/ -origin http://[::1]:8080 -origin https://münchen.de -origin http://a.example:80 -origin chrome-extension://abc -domain Example.org. -domain xn--mnchen-3ya.de"), io.Discard)
	require.NoError(t, err)
	assert.Equal(t, prefixes("192.0.2.1/32", "127.0.0.0/8"), cfg.frontage.trusted)
	assert.Equal(t, prefixes("10.0.0.0/16"), cfg.connector.guard.allowed)
	for _, origin := range []string{"https://example.org", "http://[::1]:8080", "https://xn--mnchen-3ya.de", "http://a.example", "chrome-extension://abc"} {
		assert.True(t, cfg.options.AllowOrigin(origin), origin)
	}
	assert.False(t, cfg.options.AllowOrigin("http://example.org"))
	assert.Equal(t, map[string]bool{"example.org": true, "xn--mnchen-3ya.de": true}, cfg.connector.domains)
	assert.Empty(t, cfg.warnings)

	cfg, err = parse(strings.Fields("-upstream 127.0.0.1:1 -insecure -max-memory 0 -drain 0 -keepalive 0s -max-stanza 5000 -trust ::/0"), io.Discard)
	require.NoError(t, err)
	assert.Negative(t, cfg.options.MaxMemory)
	assert.Len(t, cfg.warnings, 2)

	for _, args := range []string{"-upstream xmpp:5222 -tls none", "-upstream xmpp:5222 -insecure", "-upstream example.org -insecure", "-upstream a:1 -proof kernel"} {
		cfg, err = parse(strings.Fields(args), io.Discard)
		require.NoError(t, err)
		assert.Len(t, cfg.warnings, 1, args)
	}
	for _, args := range []string{"-upstream localhost:5222 -tls none", "-upstream [::1]:5222 -insecure", "-upstream a:1 -proof kernel -direct"} {
		cfg, err = parse(strings.Fields(args), io.Discard)
		require.NoError(t, err)
		assert.Empty(t, cfg.warnings, args)
	}
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

		// What would break everything without a word, or do something else.
		"-upstream a:1 -max-stanza -1":                               "-max-stanza",
		"-upstream a:1 -max-stanza 0":                                "-max-stanza",
		"-upstream a:1 -max-stanza 10":                               "-max-stanza",
		"-upstream a:1 -max-stanza 9999999999":                       "-max-stanza",
		"-upstream a:1 -max-body 0":                                  "-max-body",
		"-upstream a:1 -max-body -1":                                 "-max-body",
		"-upstream a:1 -max-body 999999999999":                       "-max-body",
		"-upstream a:1 -timeout 0":                                   "-timeout",
		"-upstream a:1 -timeout 0s":                                  "-timeout",
		"-upstream a:1 -timeout -5s":                                 "-timeout",
		"-upstream a:1 -timeout 10":                                  "as in 10s",
		"-upstream a:1 -wait 60":                                     "as in 60s",
		"-upstream a:1 -wait soon":                                   "not a time",
		"-upstream a:1 -wait 0":                                      "-wait",
		"-upstream a:1 -wait -1s":                                    "-wait",
		"-upstream a:1 -wait 500ms":                                  "-wait",
		"-upstream a:1 -inactivity 0":                                "-inactivity",
		"-upstream a:1 -inactivity -60s":                             "-inactivity",
		"-upstream a:1 -keepalive -1s":                               "-keepalive",
		"-upstream a:1 -drain -1s":                                   "-drain",
		"-upstream a:1 -max-sessions 0":                              "nobody",
		"-upstream a:1 -max-sessions -1":                             "-max-sessions",
		"-upstream a:1 -max-sessions-per-client -1":                  "-max-sessions-per-client",
		"-upstream a:1 -compress -1":                                 "-compress",
		"-upstream a:1 -max-memory -1":                               "-max-memory",
		"-upstream a:1 -max-memory 1000":                             "-max-memory",
		"-upstream a:1 -path healthz":                                "taken",
		"-upstream a:1 -path /healthz/":                              "taken",
		"-upstream a:1 -path /.well-known/host-meta":                 "taken",
		"-upstream a:1 -path .well-known/host-meta.json/":            "taken",
		"-upstream a:1 -path /a//b":                                  "-path",
		"-upstream a:1 -path /a/../healthz":                          "-path",
		"-upstream a:1 -path /a?b":                                   "-path",
		"-upstream a:1 -path /a#b":                                   "-path",
		"-upstream a:1 -path /%61":                                   "-path",
		"-upstream a:1 -trust ::ffff:0:0/90":                         "-trust",
		"-upstream a:1 -allow-net ::/0 -allow-net ::ffff:1.2.3.4/64": "-allow-net",
		"-upstream a:1 -origin example.org":                          "-origin",
		"-upstream a:1 -origin *":                                    "leave it out",
		"-upstream a:1 -origin https://":                             "-origin",
		"-upstream a:1 -origin https://a.example/b":                  "-origin",
		"-upstream a:1 -origin https://u@a.example":                  "-origin",
		"-upstream a:1 -see-other /http-bind":                        "-see-other",
		"-upstream a:1 -see-other ftp://a.example/":                  "-see-other",
		"-upstream a:1 -public-url http://a.example/":                "-public-url",
		"-upstream 192.0.2.1:5222 -tls none":                         "loopback",
		"-upstream [2001:db8::1]:5222 -insecure":                     "loopback",
		"-upstream 127.0.0.1":                                        "127.0.0.1:5222",
		"-upstream localhost":                                        "localhost:5222",
		"-upstream a:1 -http 5280":                                   "-http",
		"-upstream a:1 -http :99999":                                 "-http",
		"-upstream a:1 -http=":                                       "-http",
		"-upstream a:1 -admin localhost":                             "-admin",
		"-upstream a:1 -http :5280 -admin :5280":                     "an address of its own",
		"-upstream a:1 -admin-host http://monitor":                   "-admin-host",
		"-upstream a:1 -admin-host monitor:5281":                     "-admin-host",
		"-upstream a:1 -trust nginx":                                 "as 10.0.0.1 or 10.0.0.0/8 is",
		"-upstream a:1 -origin https://*.example.org":                "no wildcard",
		"-upstream a:1 -origin wss://a.example":                      "https://a.example is meant",
		"-upstream a:1 -origin FTP://a.example":                      "https://a.example is meant",
		"-upstream a:1 -max-sessions 10k":                            "no unit",
		"-upstream a:1 -max-sessions 99999999999999999999":           "-max-sessions",
		"-upstream a:1 -max-body 1MB":                                "no unit",
		"-upstream a:1 -rate 1.5":                                    "no point",
		"-upstream a:1 -timeout 1ms":                                 "-timeout",
		"-upstream a:1 -wait 999h":                                   "-wait",
		"-upstream a:1 -ca /nowhere/at/all ":                         "-ca",
	} {
		var said strings.Builder
		_, err := parse(strings.Fields(args), &said)
		require.Error(t, err, args)
		assert.Contains(t, said.String(), want, args)
		assert.Less(t, strings.Count(said.String(), "\n"), 5, "it is lost among the flags: %s", args)
	}
	// All that is wrong is said at once.
	var said strings.Builder
	_, err := parse(strings.Fields("-timeout 0 -path / -upstream a:b"), &said)
	require.Error(t, err)
	for _, want := range []string{"-timeout", "-path", "-upstream"} {
		assert.Contains(t, said.String(), want)
	}
	_, err = parse([]string{"-h"}, io.Discard)
	assert.True(t, errors.Is(err, flag.ErrHelp))
}
