package boshnats_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshnats"
	"github.com/gobosh/bosh/boshnats/embed"
	"github.com/gobosh/bosh/boshtest"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// certified returns a configuration of a server on loopback, and of those that trust it
// and nobody else.
func certified(t *testing.T) *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nodes"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		RootCAs:      pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}
}

// joined makes a connection a site.
func joined(t *testing.T, nc *nats.Conn) *site {
	n, err := boshnats.Join(nc, boshnats.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	h := bosh.New(bosh.Options{Framing: bosh.Elements, Node: n.Name(), Relay: n.Relay, Serve: echo, Logger: slog.New(slog.DiscardHandler)})
	n.Serve(h)
	t.Cleanup(func() { h.Close(); n.Leave() })
	return &site{T: t, nc: nc, node: n, h: h}
}

// serves asserts that any of two sites serves the sessions of both.
func serves(t *testing.T, all []*site) {
	require.Eventually(t, func() bool { return len(all[0].node.Nodes()) == 2 && len(all[1].node.Nodes()) == 2 }, 10*time.Second, 10*time.Millisecond)
	for i := range all {
		c, err := boshtest.Dial(t.Context(), boshtest.Config{To: "x", Transport: &via{first: all[i], then: all[1-i]}})
		require.NoError(t, err)
		require.NoError(t, c.Send(t.Context(), "<a xmlns='u'/>"))
		_, err = c.Recv(t.Context())
		require.NoError(t, err)
		c.Close()
	}
}

// TLS and credentials are those of the connection: here a server that wants both.
func TestCredentials(t *testing.T) {
	operator, err := nkeys.CreateOperator()
	require.NoError(t, err)
	public := func(k nkeys.KeyPair) string { s, _ := k.PublicKey(); return s }
	account, err := nkeys.CreateAccount()
	require.NoError(t, err)
	claims, err := jwt.NewAccountClaims(public(account)).Encode(operator)
	require.NoError(t, err)
	resolver := &server.MemAccResolver{}
	require.NoError(t, resolver.Store(public(account), claims))
	conf := certified(t)
	conf.ClientAuth = tls.NoClientCert
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, TLSConfig: conf, TLSTimeout: 5,
		TrustedKeys: []string{public(operator)}, AccountResolver: resolver,
	})
	require.NoError(t, err)
	go s.Start()
	defer s.Shutdown()
	require.True(t, s.ReadyForConnections(10*time.Second))
	credentials := func(by nkeys.KeyPair) string {
		user, err := nkeys.CreateUser()
		require.NoError(t, err)
		c := jwt.NewUserClaims(public(user))
		c.Permissions = jwt.Permissions{
			Pub: jwt.Permission{Allow: jwt.StringList{"bosh.node.*", "bosh.reply.>", "bosh.up", "bosh.stats"}},
			Sub: jwt.Permission{Allow: jwt.StringList{"bosh.node.*", "bosh.reply.>", "bosh.up", "bosh.stats"}},
		}
		token, err := c.Encode(by)
		require.NoError(t, err)
		seed, err := user.Seed()
		require.NoError(t, err)
		text, err := jwt.FormatUserConfig(token, seed)
		require.NoError(t, err)
		file := filepath.Join(t.TempDir(), "node.creds")
		require.NoError(t, os.WriteFile(file, text, 0o600))
		return file
	}
	var all []*site
	for range 2 {
		nc, err := nats.Connect(s.ClientURL(), nats.UserCredentials(credentials(account)), nats.Secure(&tls.Config{RootCAs: conf.RootCAs}))
		require.NoError(t, err)
		t.Cleanup(nc.Close)
		assert.True(t, nc.TLSRequired())
		all = append(all, joined(t, nc))
	}
	serves(t, all)
	stranger, err := nkeys.CreateAccount()
	require.NoError(t, err)
	for _, options := range [][]nats.Option{
		{nats.UserCredentials(credentials(account))}, // whose authority is unknown
		{nats.Secure(&tls.Config{RootCAs: conf.RootCAs})},
		{nats.Secure(&tls.Config{RootCAs: conf.RootCAs}), nats.UserCredentials(credentials(stranger))},
	} {
		_, err = nats.Connect(s.ClientURL(), options...)
		assert.Error(t, err)
	}
}

// Servers in the processes speak by TLS, with a certificate and a password at both ends,
// and take no others in.
func TestEmbeddedTLS(t *testing.T) {
	conf := certified(t)
	var all []*site
	var routes []string
	start := func(c embed.Config) *nats.Conn {
		c.Routes, c.Wait = routes, 5*time.Second
		s, nc, err := embed.Start(c)
		require.NoError(t, err)
		t.Cleanup(func() { nc.Close(); s.Shutdown() })
		if routes == nil {
			routes = []string{embed.Addr(s)}
		}
		return nc
	}
	for range 2 {
		all = append(all, joined(t, start(embed.Config{TLS: conf, User: "node", Password: "secret"})))
	}
	serves(t, all)
	for name, c := range map[string]embed.Config{
		"without TLS": {User: "node", Password: "secret"}, "another authority": {TLS: certified(t), User: "node", Password: "secret"},
		"another password": {TLS: conf, User: "node", Password: "guess"}, "no password": {TLS: conf},
	} {
		c.Wait = -1
		s, nc, err := embed.Start(embed.Config{TLS: c.TLS, User: c.User, Password: c.Password, Routes: routes, Wait: -1})
		require.NoError(t, err)
		alone := joined(t, nc)
		time.Sleep(time.Second)
		assert.Len(t, alone.node.Nodes(), 1, name)
		assert.Len(t, all[0].node.Nodes(), 2, name)
		nc.Close()
		s.Shutdown()
	}
}
