package session

import (
	"encoding/binary"
	"math/bits"
)

// Sum returns a hash of a request's body, which tells a repeat from another request under
// the same rid. It is the same in every process, since a session may move to another one,
// and differs from session to session: the sid, which is random and secret, is its key.
// It is never 0.
//
// It is wyhash, as the runtime has it for machines without AES, at a fifth of what
// SHA-256 costs. Without the sid nobody can look for two bodies of the same sum. With the
// sid it is of no use: a true repeat brings the same answer. In a session with keys, a
// repeat must have the key, too.
func Sum[T string | []byte](sid T, body []byte) uint64 {
	var key [16]byte
	copy(key[:], sid)
	a := binary.LittleEndian.Uint64(key[:8]) ^ k0
	h, n := mix(a, binary.LittleEndian.Uint64(key[8:])^k1), len(body)
	for len(body) > 16 {
		h = mix(binary.LittleEndian.Uint64(body)^k1^a, binary.LittleEndian.Uint64(body[8:])^h)
		body = body[16:]
	}
	var last [16]byte
	copy(last[:], body)
	h = mix(binary.LittleEndian.Uint64(last[:8])^k2^a, binary.LittleEndian.Uint64(last[8:])^h)
	if h = mix(h^k3, uint64(n)^k0); h == 0 {
		return 1
	}
	return h
}

// Any odd numbers with as many ones as zeros do: those of wyhash.
const (
	k0 = 0xa0761d6478bd642f
	k1 = 0xe7037ed1a0b428db
	k2 = 0x8ebc6af09c88c6e3
	k3 = 0x589965cc75374cc3
)

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}
