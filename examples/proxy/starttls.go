package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// A streamError is a stream error of the server.
type streamError struct {
	element []byte // the stream:error, with its namespace declared
}

// Error names the error's condition, its first element.
func (e *streamError) Error() string {
	const said = "the server ended the stream by an error"
	d := xml.NewDecoder(bytes.NewReader(e.element))
	for n := 0; ; {
		t, err := d.Token()
		if err != nil {
			return said
		}
		if start, ok := t.(xml.StartElement); ok {
			if n++; n == 2 {
				return said + ": " + start.Name.Local[:min(len(start.Name.Local), 60)]
			}
		}
	}
}

var (
	errNoTLS     = errors.New("the server offers no STARTTLS")
	errRefused   = errors.New("the server refuses STARTTLS")
	errInjection = errors.New("the server sent something behind its consent to TLS")
)

// maxGreeting is how much a server may say until TLS begins.
const maxGreeting = 64 << 10

// upgrade asks the server of a domain on c for TLS and negotiates it. All earlier words
// of the server are forgotten, except an error.
func upgrade(ctx context.Context, c net.Conn, name string, config *tls.Config) (net.Conn, error) {
	stop := interrupt(ctx, c)
	err := askTLS(c, name)
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	return handshake(ctx, c, config)
}

// handshake negotiates TLS.
func handshake(ctx context.Context, c net.Conn, config *tls.Config) (net.Conn, error) {
	t := tls.Client(c, config)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return t, nil
}

// interrupt unblocks reads and writes of c when ctx is done. stop ends this,
// and reports whether it never happened.
func interrupt(ctx context.Context, c net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
}

func askTLS(c net.Conn, name string) error {
	var header bytes.Buffer
	header.WriteString(`<?xml version='1.0'?><stream:stream to='`)
	xml.EscapeText(&header, []byte(name))
	header.WriteString(`' version='1.0' xmlns='jabber:client' xmlns:stream='` + nsStream + `'>`)
	if _, err := c.Write(header.Bytes()); err != nil {
		return err
	}
	p := newPeer(c)
	if err := p.features(); err != nil {
		return err
	}
	if _, err := io.WriteString(c, `<starttls xmlns='`+nsTLS+`'/>`); err != nil {
		return err
	}
	start, err := p.start()
	if err != nil {
		return err
	}
	if start.Name != (xml.Name{Space: nsTLS, Local: "proceed"}) {
		return errRefused
	}
	if err := p.decoder.Skip(); err != nil {
		return err
	}
	if p.in.Buffered() > 0 {
		return errInjection // whoever sent it could not have done so by TLS
	}
	return nil
}

// A peer is read by elements, and not a byte beyond.
type peer struct {
	in      *bufio.Reader
	seen    bytes.Buffer
	decoder *xml.Decoder
}

func newPeer(r io.Reader) *peer {
	p := &peer{in: bufio.NewReader(io.LimitReader(r, maxGreeting))}
	p.decoder = xml.NewDecoder(p)
	return p
}

// Read is never called, since there is ReadByte.
func (p *peer) Read([]byte) (int, error) { return 0, io.ErrNoProgress }

// ReadByte makes the decoder read no further than it must.
func (p *peer) ReadByte() (byte, error) {
	b, err := p.in.ReadByte()
	if err == nil {
		p.seen.WriteByte(b)
	}
	return b, err
}

// features reads the server's header and features, and wants STARTTLS among
// them.
func (p *peer) features() error {
	start, err := p.start()
	if err != nil {
		return err
	}
	if start.Name != (xml.Name{Space: nsStream, Local: "stream"}) {
		return errNotXMPP
	}
	if start, err = p.start(); err != nil {
		return err
	}
	if start.Name != (xml.Name{Space: nsStream, Local: "features"}) {
		return errNotXMPP
	}
	offered := false
	for {
		t, err := p.decoder.Token()
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case xml.StartElement:
			if t.Name == (xml.Name{Space: nsTLS, Local: "starttls"}) {
				offered = true
			}
			if err := p.decoder.Skip(); err != nil {
				return err
			}
		case xml.EndElement:
			if !offered {
				return errNoTLS
			}
			return nil
		}
	}
}

// start reads up to the next start tag. An error of the stream is returned as
// an error.
func (p *peer) start() (xml.StartElement, error) {
	for {
		at := p.decoder.InputOffset()
		t, err := p.decoder.Token()
		if err != nil {
			return xml.StartElement{}, err
		}
		switch t := t.(type) {
		case xml.StartElement:
			if t.Name == (xml.Name{Space: nsStream, Local: "error"}) {
				return t, p.streamError(at)
			}
			return t, nil
		case xml.EndElement:
			return xml.StartElement{}, io.EOF
		}
	}
}

// streamError reads the rest of a stream error from its offset.
func (p *peer) streamError(at int64) error {
	if err := p.decoder.Skip(); err != nil {
		return err
	}
	element := p.seen.Bytes()[at:p.decoder.InputOffset()]
	rest, ok := bytes.CutPrefix(element, []byte("<stream:error"))
	if !ok {
		return errNotXMPP // RFC 6120, section 4.8.5, knows no other prefix
	}
	if !bytes.Contains(rest[:bytes.IndexByte(rest, '>')], []byte("xmlns:stream=")) {
		element = append([]byte("<stream:error xmlns:stream='"+nsStream+"'"), rest...)
	}
	return &streamError{element: bytes.Clone(element)}
}
