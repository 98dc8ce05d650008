package main

import (
	"errors"
	"strings"

	"golang.org/x/net/idna"
)

// A domain is an XMPP domain, in the two forms of an internationalized name
// (RFC 5890, section 2.3.2.1).
type domain struct {
	name string // for XMPP: of U-labels (RFC 7622, section 3.2)
	host string // for DNS, TLS and certificates: of A-labels
}

// maxDomain is the longest domain of XMPP in bytes. RFC 7622, section 3.2.
const maxDomain = 1023

// The longest name of DNS and the longest of its labels in bytes. RFC 1035,
// section 2.3.4.
const (
	maxHost  = 253
	maxLabel = 63
)

var errNoDomain = errors.New("no domain name")

// parseDomain parses a domain in either form. A dot at the end is none of the
// name. RFC 7622, section 3.2.
func parseDomain(s string) (domain, error) {
	if len(s) > maxDomain {
		return domain{}, errNoDomain
	}
	host, err := idna.Lookup.ToASCII(s)
	if err != nil {
		return domain{}, errNoDomain // that error quotes what a client has said
	}
	host = strings.TrimSuffix(host, ".")
	if len(host) > maxHost {
		return domain{}, errNoDomain
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > maxLabel {
			return domain{}, errNoDomain
		}
	}
	name, err := idna.Lookup.ToUnicode(host)
	if err != nil {
		return domain{}, errNoDomain
	}
	return domain{name: name, host: host}, nil
}
