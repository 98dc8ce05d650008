package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
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
	p := newPeer(c)
	err := p.askTLS(c, name)
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, p.blame(err)
	}
	return handshake(ctx, c, config)
}

// handshake negotiates TLS.
func handshake(ctx context.Context, c net.Conn, config *tls.Config) (net.Conn, error) {
	t := tls.Client(c, config)
	err := t.HandshakeContext(ctx)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = context.Cause(ctx)
	}
	var record tls.RecordHeaderError
	var authority x509.UnknownAuthorityError
	switch {
	case err == nil:
		return t, nil
	case errors.As(err, &record):
		return nil, fmt.Errorf("TLS: %w; a port that begins without TLS wants no -tls direct", err)
	case errors.As(err, &authority):
		return nil, fmt.Errorf("TLS: %w; -ca can name it", err)
	}
	return nil, fmt.Errorf("TLS: %w", err)
}

// blame adds to an error what the server has said, if that is no XMPP.
func (p *peer) blame(err error) error {
	switch said := bytes.TrimLeft(p.seen.Bytes(), " \t\r\n\ufeff"); {
	case p.seen.Len() == 0:
		return fmt.Errorf("%w, before the server had said anything: is the port one for clients, and not of -tls direct?", err)
	case bytes.HasPrefix(said, []byte{21, 3}), bytes.HasPrefix(said, []byte{22, 3}): // a record of TLS
		return fmt.Errorf("%w: the port wants TLS from the start, by -tls direct", err)
	case len(said) > 0 && said[0] != '<':
		return fmt.Errorf("%w: the server is none of XMPP, for it says %.40q", err, said)
	}
	return err
}

// interrupt unblocks reads and writes of c when ctx is done. stop ends this,
// and reports whether it never happened.
func interrupt(ctx context.Context, c net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
}

// askTLS begins a stream to a domain, and asks for TLS.
func (p *peer) askTLS(c net.Conn, name string) error {
	var header bytes.Buffer
	header.WriteString(`<?xml version='1.0'?><stream:stream to='`)
	xml.EscapeText(&header, []byte(name))
	header.WriteString(`' version='1.0' xmlns='jabber:client' xmlns:stream='` + nsStream + `'>`)
	if _, err := c.Write(header.Bytes()); err != nil {
		return err
	}
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
