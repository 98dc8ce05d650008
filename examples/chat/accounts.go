package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"mellium.im/xmpp/jid"
)

// accounts are the users with a password. They do not change once the server
// runs.
type accounts struct {
	domain string
	keys   map[string][]scramKeys // by localpart, in the order of scramHashes
	secret []byte                 // makes up salts for users who do not exist
}

// scramHashes are the mechanisms with keys in the accounts, best first.
var scramHashes = []scramHash{scramSHA256, scramSHA1}

// newAccounts returns the accounts of users, given as name:password.
func newAccounts(domain string, users []string) (*accounts, error) {
	d, err := jid.New("", domain, "")
	if err != nil {
		return nil, fmt.Errorf("domain %q: %w", domain, err)
	}
	a := &accounts{domain: d.Domainpart(), keys: make(map[string][]scramKeys), secret: randomBytes(32)}
	for _, u := range users {
		name, password, ok := strings.Cut(u, ":")
		if !ok || name == "" || password == "" {
			return nil, errors.New("a user is given as name:password")
		}
		local, err := a.localpart(name)
		if err != nil {
			return nil, fmt.Errorf("user %q: %w", name, err)
		}
		if _, ok := a.keys[local]; ok {
			return nil, fmt.Errorf("user %q is given twice", name)
		}
		for _, h := range scramHashes {
			k, err := newScramKeys(h, password, randomBytes(16), scramIterations)
			if err != nil {
				return nil, fmt.Errorf("user %q: %w", name, err)
			}
			a.keys[local] = append(a.keys[local], k)
		}
	}
	return a, nil
}

// localpart returns a user's name in the form it has in addresses.
func (a *accounts) localpart(name string) (string, error) {
	j, err := jid.New(name, a.domain, "")
	if err != nil {
		return "", err
	}
	if j.Localpart() == "" {
		return "", errors.New("the name is empty")
	}
	return j.Localpart(), nil
}

// lookup returns a user's keys. For an unknown user it makes up keys, always
// the same for a name. No password fits them, so nobody learns the names of the
// users.
func (a *accounts) lookup(name string, h scramHash) scramKeys {
	if local, err := a.localpart(name); err == nil {
		name = local
		for i, k := range a.keys[local] {
			if scramHashes[i].mechanism == h.mechanism {
				return k
			}
		}
	}
	return scramKeys{
		salt:       scramSHA256.mac(a.secret, h.mechanism+" "+name)[:16],
		iterations: scramIterations,
		storedKey:  randomBytes(h.new().Size()),
		serverKey:  randomBytes(h.new().Size()),
	}
}

// check reports whether password is the user's. It costs the same whether or
// not the user exists.
func (a *accounts) check(name, password string) bool {
	return a.lookup(name, scramSHA256).verify(scramSHA256, password)
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// randomName returns 64 random bits as text: a guest's name, or a resource.
func randomName() string { return hex.EncodeToString(randomBytes(8)) }
