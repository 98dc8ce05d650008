package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// A keyPair is a certificate and its key in files. They are read again when
// they change: a renewal needs no restart.
type keyPair struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex // Protects following.
	cert    *tls.Certificate
	changed [2]time.Time // when the files were changed that cert is from
	checked time.Time
}

// checkEvery is how often the files are looked at.
const checkEvery = time.Minute

// load reads the files if they have changed.
func (k *keyPair) load() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.checked = time.Now()
	var changed [2]time.Time
	for i, name := range []string{k.certFile, k.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return fmt.Errorf("%s: %w", []string{"-cert", "-key"}[i], err)
		}
		changed[i] = info.ModTime()
	}
	if k.cert != nil && changed == k.changed {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(k.certFile, k.keyFile)
	if err != nil {
		return fmt.Errorf("-cert and -key: %w", err)
	}
	k.cert, k.changed = &cert, changed
	return nil
}

// reload reads the files, changed or not. If they are no good the old certificate
// stays.
func (k *keyPair) reload() error {
	k.mu.Lock()
	k.changed = [2]time.Time{}
	k.mu.Unlock()
	return k.load()
}

// leaf returns the certificate.
func (k *keyPair) leaf() *x509.Certificate {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.cert.Leaf
}

// get returns the certificate for a handshake. Bad files do not replace the old
// certificate.
func (k *keyPair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	cert, due := k.cert, time.Since(k.checked) > checkEvery
	k.mu.Unlock()
	if !due {
		return cert, nil
	}
	if err := k.load(); err != nil {
		k.log.Error("certificate not renewed", "cause", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.cert, nil
}
