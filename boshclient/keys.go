package boshclient

import (
	"crypto/rand"
	"crypto/sha1"
	"encoding/hex"
)

// keys is a key sequence: each key is the SHA-1 of the one sent after it. XEP-0124,
// section 15.
type keys struct {
	left []string // in the order of making: the last is sent next
	n    int
}

// newKeys returns a sequence of n keys without its first. The first goes into newkey.
func newKeys(n int) (k *keys, newkey string) {
	k = &keys{n: max(n, 2)}
	return k, k.renew()
}

func (k *keys) renew() (newkey string) {
	key := rand.Text()
	k.left = k.left[:0]
	for range k.n {
		sum := sha1.Sum([]byte(key))
		key = hex.EncodeToString(sum[:])
		k.left = append(k.left, key)
	}
	return k.pop()
}

func (k *keys) pop() string {
	last := len(k.left) - 1
	key := k.left[last]
	k.left = k.left[:last]
	return key
}

// next returns the key of the next request, and with the last key of a sequence the
// first of the next one.
func (k *keys) next() (key, newkey string) {
	key = k.pop()
	if len(k.left) == 0 {
		newkey = k.renew()
	}
	return key, newkey
}
