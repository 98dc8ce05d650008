package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseDomain(t *testing.T) {
	for in, want := range map[string]domain{
		"example.org":              {"example.org", "example.org"},
		"EXAMPLE.org":              {"example.org", "example.org"},
		"localhost.":               {"localhost", "localhost"},
		"LocalHost.":               {"localhost", "localhost"},
		"münchen.de":               {"münchen.de", "xn--mnchen-3ya.de"},
		"MÜNCHEN.DE.":              {"münchen.de", "xn--mnchen-3ya.de"},
		"mu\u0308nchen.de":         {"münchen.de", "xn--mnchen-3ya.de"},
		"xn--mnchen-3ya.de":        {"münchen.de", "xn--mnchen-3ya.de"},
		"XN--MNCHEN-3YA.de":        {"münchen.de", "xn--mnchen-3ya.de"},
		"münchen。de。":              {"münchen.de", "xn--mnchen-3ya.de"},
		"faß.de":                   {"faß.de", "xn--fa-hia.de"},
		"例え.テスト":                   {"例え.テスト", "xn--r8jz45g.xn--zckzah"},
		"127.0.0.1":                {"127.0.0.1", "127.0.0.1"},
		strings.Repeat("a", 63):    {strings.Repeat("a", 63), strings.Repeat("a", 63)},
		"":                         {},
		".":                        {},
		"..":                       {},
		"localhost..":              {},
		".localhost":               {},
		"a..b":                     {},
		"a@b":                      {},
		"a/b":                      {},
		"a b":                      {},
		"xn--a":                    {},
		"[::1]":                    {},
		"\u00ad":                   {},
		strings.Repeat("a", 64):    {},
		strings.Repeat("a.", 200):  {},
		strings.Repeat("ü", 60):    {},
		strings.Repeat("x", 16384): {},
	} {
		got, err := parseDomain(in)
		if want == (domain{}) {
			assert.Error(t, err, "%.50q", in)
			continue
		}
		require.NoError(t, err, in)
		assert.Equal(t, want, got, in)
	}
}
