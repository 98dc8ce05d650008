//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"sync"
	"time"
)

// secured is an http.Server as it is for TLS.
func secured(h http.Handler) (*http.Server, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	cert, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	return &http.Server{Handler: h, TLSConfig: &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}},
	}}, nil
}

var idleTLS = []scenario{
	{"idletls", "500 sessions over TLS and HTTP/1.1, one held request each", few, idleOver(500, false), idleTLSRows(targets{1.1, 0.5})},
	{"idleh2", "500 sessions over TLS and HTTP/2, one held request each", few, idleOver(500, true), idleTLSRows(targets{1.1, 1.1})},
}

func idleTLSRows(t targets) []row {
	return []row{
		{figure: "rss", what: "resident bytes per session, 3 s after the last was created", ratio: true, targets: t},
		{figure: "goroutines", what: "goroutines per session"},
	}
}

// idleOver has n clients that say nothing, each with a connection of its own.
func idleOver(n int, http2 bool) func(*run) (figures, error) {
	return func(r *run) (figures, error) {
		addr, err := r.server.do("tls")
		if err != nil {
			return nil, err
		}
		url := "https://" + string(bytes.TrimSpace(addr)) + "/http-bind"
		ctx, cancel := context.WithCancel(context.Background())
		var held sync.WaitGroup
		r.close = func() {
			cancel()
			held.Wait()
		}
		if _, err := r.server.do("collect"); err != nil {
			return nil, err
		}
		before, err := r.server.stats()
		if err != nil {
			return nil, err
		}
		for range n {
			c := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: http2, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
			post := func(body string) ([]byte, error) {
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader([]byte(body)))
				if err != nil {
					return nil, err
				}
				resp, err := c.Do(req)
				if err != nil {
					return nil, err
				}
				defer resp.Body.Close()
				if got := resp.ProtoMajor == 2; got != http2 {
					return nil, fmt.Errorf("answered by %s", resp.Proto)
				}
				return io.ReadAll(resp.Body)
			}
			answer, err := post("<body rid='1000' to='example.com' wait='60' hold='1' ver='1.11' xmlns='http://jabber.org/protocol/httpbind'/>")
			if err != nil {
				return nil, err
			}
			held.Go(func() {
				post(fmt.Sprintf("<body rid='1001' sid='%s' xmlns='http://jabber.org/protocol/httpbind'/>", field(answer, " sid='")))
				c.CloseIdleConnections()
			})
		}
		time.Sleep(3 * time.Second) // idle, that is
		after, err := r.server.stats()
		return figures{
			"rss":        float64(after.RSS-before.RSS) / float64(n),
			"goroutines": float64(after.Goroutines-before.Goroutines) / float64(n),
		}, err
	}
}
