package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"strings"

	"mellium.im/xmpp/stream"
)

const (
	nsStreamErrors = "urn:ietf:params:xml:ns:xmpp-streams"
	streamEnd      = "</stream:stream>"
)

// streamError returns the stream error for a client whose stream ends by err.
func streamError(err error) stream.Error {
	var (
		se     stream.Error
		syntax *xml.SyntaxError
		ne     net.Error
	)
	switch {
	case errors.As(err, &se) && se.Err != "":
		return se
	case errors.As(err, &syntax):
		return stream.NotWellFormed
	case errors.As(err, &ne) && ne.Timeout():
		return stream.ConnectionTimeout
	case strings.HasPrefix(err.Error(), "xmpp: stream location "): // of mellium's negotiator: another than before
		return stream.HostUnknown
	case strings.HasPrefix(err.Error(), "xmpp: stream origin "):
		return stream.InvalidFrom
	case strings.HasPrefix(err.Error(), "disallowed XML"): // of mellium's stream reader
		return stream.RestrictedXML
	case strings.HasPrefix(err.Error(), "xml: encoding"):
		return stream.UnsupportedEncoding
	}
	return stream.BadFormat
}

// ending returns the last bytes of a stream: the error e, if there is one, and
// the end tag. Mellium's own stream errors are lost between its encoder and its
// end tag, so the server writes them itself.
func ending(e stream.Error) []byte {
	if e.Err == "" {
		return []byte(streamEnd)
	}
	return append(errorElement(e), streamEnd...)
}

// errorElement returns a self-contained stream error.
func errorElement(e stream.Error) []byte {
	return fmt.Appendf(nil, "<stream:error xmlns:stream='%s'><%s xmlns='%s'/></stream:error>", stream.NS, e.Err, nsStreamErrors)
}

// header returns a stream header, for a stream that ends before mellium has
// sent one: an error must stand inside a stream.
func header(domain string) []byte {
	b := []byte("<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='" + stream.NS + "' version='1.0'")
	b = appendAttr(b, "id", randomName())
	b = appendAttr(b, "from", domain)
	return append(b, '>')
}
