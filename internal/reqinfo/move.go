package reqinfo

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"

	"github.com/gobosh/bosh/internal/state"
)

// Export returns what o knows, for another process.
func Export(o Info) (x state.Origin) {
	if l, ok := o.(*located); ok {
		addr := l.addr.String()
		x.Addr, o = &addr, l.Info
	}
	if c := o.TLS(); c != nil {
		x.TLS = exportTLS(c)
	}
	var rest fields
	switch o := o.(type) {
	case plain:
		rest = fields(o)
	case *encrypted:
		rest = fields(o.plain)
	default: // of the direct engine
		r := o.Request()
		r.TLS = nil
		rest = fields(Keep(r).(plain))
	}
	for len(rest) > 0 {
		x.Fields = append(x.Fields, rest.next())
	}
	return x
}

func exportTLS(c *tls.ConnectionState) *state.TLS {
	t := &state.TLS{Version: c.Version, Cipher: c.CipherSuite, Server: c.ServerName, Proto: c.NegotiatedProtocol}
	for _, cert := range c.PeerCertificates {
		t.Certs = append(t.Certs, cert.Raw)
	}
	return t
}

var errOrigin = errors.New("bosh: state of a session without the request that created it")

// Import returns what another process has exported.
func Import(x *state.Origin) (Info, error) {
	n := len(x.Fields)
	if n <= remoteAddr+1 || n%2 != 0 {
		return nil, errOrigin
	}
	var p plain
	var b []byte
	for _, s := range x.Fields {
		b = add(b, s)
	}
	p = plain(b)
	var o Info = p
	if x.TLS != nil {
		c, err := importTLS(x.TLS)
		if err != nil {
			return nil, err
		}
		o = &encrypted{p, c}
	}
	if x.Addr != nil {
		o = WithAddr(Addr(*x.Addr), o)
	}
	return o, nil
}

// importTLS returns the state of a connection as far as it has travelled.
func importTLS(t *state.TLS) (*tls.ConnectionState, error) {
	c := &tls.ConnectionState{
		HandshakeComplete: true, Version: t.Version, CipherSuite: t.Cipher, ServerName: t.Server, NegotiatedProtocol: t.Proto,
	}
	for _, raw := range t.Certs {
		cert, err := x509.ParseCertificate(bytes.Clone(raw)) // which keeps it
		if err != nil {
			return nil, err
		}
		c.PeerCertificates = append(c.PeerCertificates, cert)
	}
	return c, nil
}

// add appends a field.
func add(b []byte, s string) []byte {
	if i, ok := indexes[s]; ok {
		return binary.AppendUvarint(b, 2*i+1)
	}
	return append(binary.AppendUvarint(b, 2*uint64(len(s))), s...)
}
