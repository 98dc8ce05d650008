package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	offersTLS = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>"
	proceed   = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
)

// expect reads until something has come, and no further.
func expect(r io.Reader, what string) (string, error) {
	in, ok := r.(io.ByteReader)
	if !ok {
		in = byByte{r}
	}
	var got []byte
	for !bytes.HasSuffix(got, []byte(what)) {
		b, err := in.ReadByte()
		if err != nil {
			return string(got), err
		}
		got = append(got, b)
	}
	return string(got), nil
}

type byByte struct{ io.Reader }

func (r byByte) ReadByte() (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(r, b[:])
	return b[0], err
}

// greet plays a server until TLS begins.
func greet(c net.Conn, features string) error {
	if _, err := expect(c, "version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"); err != nil {
		return err
	}
	if _, err := io.WriteString(c, "<?xml version='1.0'?>"+header+features); err != nil {
		return err
	}
	_, err := expect(c, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
	return err
}

func TestUpgrade(t *testing.T) {
	ca := newAuthority(t)
	client, server := net.Pipe()
	defer client.Close()
	go func() {
		defer server.Close()
		if greet(server, offersTLS) != nil {
			return
		}
		io.WriteString(server, proceed)
		s := tls.Server(server, ca.config(t, "example.org"))
		io.Copy(s, s)
	}()
	c, err := upgrade(t.Context(), client, "example.org", &tls.Config{ServerName: "example.org", RootCAs: ca.pool})
	require.NoError(t, err)
	go io.WriteString(c, "hello")
	_, err = expect(c, "hello")
	require.NoError(t, err)
}

func TestUpgradeRefused(t *testing.T) {
	for name, test := range map[string]struct {
		features, answer string
		want             error
	}{
		"not offered":   {"<stream:features><x xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>", "", errNoTLS},
		"refused":       {offersTLS, "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>", errRefused},
		"injected":      {offersTLS, proceed + "<message/>", errInjection},
		"not features":  {"<message/>", "", errNotXMPP},
		"ended":         {"</stream:stream>", "", io.EOF},
		"broken":        {"<a></b>", "", nil},
		"beyond bounds": {"<stream:features>" + strings.Repeat(" ", maxGreeting), "", nil},
	} {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			if greet(server, test.features) == nil {
				io.WriteString(server, test.answer)
			}
		}()
		_, err := upgrade(t.Context(), client, "example.org", &tls.Config{ServerName: "example.org"})
		client.Close()
		require.Error(t, err, name)
		if test.want != nil {
			assert.ErrorIs(t, err, test.want, name)
		}
	}
}

// An error of the stream is handed on whole.
func TestUpgradeStreamError(t *testing.T) {
	const condition = "<host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
	for in, want := range map[string]string{
		"<stream:error>" + condition + "</stream:error>":                                 "<stream:error xmlns:stream='" + nsStream + "'>" + condition + "</stream:error>",
		"<stream:error xmlns:stream='" + nsStream + "'>" + condition + "</stream:error>": "<stream:error xmlns:stream='" + nsStream + "'>" + condition + "</stream:error>",
	} {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			greet(server, in+"</stream:stream>")
		}()
		_, err := upgrade(t.Context(), client, "nowhere.example", &tls.Config{})
		client.Close()
		var said *streamError
		require.ErrorAs(t, err, &said)
		assert.Equal(t, want, string(said.element))
	}
}

// A server that says nothing is waited for as long as the context lasts.
func TestUpgradeSilence(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	go greet(server, "")
	_, err := upgrade(ctx, client, "example.org", &tls.Config{})
	assert.ErrorIs(t, err, context.DeadlineExceeded)
}
