package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"hash"
	"strconv"
	"strings"
)

// A scramHash is the hash function of a SCRAM mechanism.
type scramHash struct {
	mechanism string
	new       func() hash.Hash
}

var (
	scramSHA1   = scramHash{"SCRAM-SHA-1", sha1.New}
	scramSHA256 = scramHash{"SCRAM-SHA-256", sha256.New}
)

// scramIterations is the minimum of RFC 7677. A service should take more if its
// database may leak.
const scramIterations = 4096

// scramKeys are a server's record of a password: enough to check it, and not
// enough to log in with. RFC 5802, section 3.
type scramKeys struct {
	salt       []byte
	iterations int
	storedKey  []byte
	serverKey  []byte
}

// newScramKeys derives the keys of a password.
func newScramKeys(h scramHash, password string, salt []byte, iterations int) (scramKeys, error) {
	salted, err := pbkdf2.Key(h.new, password, salt, iterations, h.new().Size())
	if err != nil {
		return scramKeys{}, err
	}
	stored := h.new()
	stored.Write(h.mac(salted, "Client Key"))
	return scramKeys{
		salt:       salt,
		iterations: iterations,
		storedKey:  stored.Sum(nil),
		serverKey:  h.mac(salted, "Server Key"),
	}, nil
}

func (h scramHash) mac(key []byte, text string) []byte {
	m := hmac.New(h.new, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// verify reports whether password is the one the keys were derived from, in
// the same time for any password.
func (k scramKeys) verify(h scramHash, password string) bool {
	got, err := newScramKeys(h, password, k.salt, k.iterations)
	return err == nil && hmac.Equal(got.storedKey, k.storedKey)
}

// Errors of a SCRAM exchange, apart from errMalformed.
var errProof = errors.New("scram: the proof does not fit")

// A scramServer is the server's side of one SCRAM exchange: first, then final.
// RFC 5802.
type scramServer struct {
	hash   scramHash
	lookup func(user string, h scramHash) scramKeys // for unknown users too
	nonce  func() string

	user, authzid string

	keys        scramKeys
	gs2Header   string
	fullNonce   string
	authMessage string // without the client's final message
}

// randomNonce returns 144 random bits, in the characters of a nonce.
func randomNonce() string {
	b := make([]byte, 18)
	rand.Read(b)
	return base64.StdEncoding.EncodeToString(b)
}

// first takes the client's first message and returns the server's.
func (s *scramServer) first(msg string) (string, error) {
	flag, rest, ok1 := strings.Cut(msg, ",")
	authzid, bare, ok2 := strings.Cut(rest, ",")
	if !ok1 || !ok2 {
		return "", errMalformed
	}
	// With y a client takes us for unable to bind channels, and is right.
	// With p it takes us for able.
	if flag != "n" && flag != "y" {
		return "", errMalformed
	}
	if authzid != "" {
		name, ok := strings.CutPrefix(authzid, "a=")
		if s.authzid, ok = unescapeName(name, ok); !ok {
			return "", errMalformed
		}
	}
	s.gs2Header = flag + "," + authzid + ","

	fields := strings.Split(bare, ",")
	if len(fields) < 2 {
		return "", errMalformed
	}
	// An m= in front is a mandatory extension. There are none.
	name, ok := strings.CutPrefix(fields[0], "n=")
	if s.user, ok = unescapeName(name, ok); !ok {
		return "", errMalformed
	}
	clientNonce, ok := strings.CutPrefix(fields[1], "r=")
	if !ok || !isNonce(clientNonce) {
		return "", errMalformed
	}

	s.keys = s.lookup(s.user, s.hash)
	s.fullNonce = clientNonce + s.nonce()
	reply := "r=" + s.fullNonce +
		",s=" + base64.StdEncoding.EncodeToString(s.keys.salt) +
		",i=" + strconv.Itoa(s.keys.iterations)
	s.authMessage = bare + "," + reply
	return reply, nil
}

// final takes the client's final message. If its proof is right it returns the
// server's. That one proves in turn that the server knows the user.
func (s *scramServer) final(msg string) (string, error) {
	i := strings.LastIndex(msg, ",p=")
	if i < 0 {
		return "", errMalformed
	}
	withoutProof := msg[:i]
	proof, err := base64.StdEncoding.DecodeString(msg[i+len(",p="):])
	if err != nil || len(proof) != s.hash.new().Size() {
		return "", errMalformed
	}
	fields := strings.Split(withoutProof, ",")
	if len(fields) < 2 || !strings.HasPrefix(fields[0], "c=") || !strings.HasPrefix(fields[1], "r=") {
		return "", errMalformed
	}
	if fields[0][2:] != base64.StdEncoding.EncodeToString([]byte(s.gs2Header)) || fields[1][2:] != s.fullNonce {
		return "", errProof
	}

	authMessage := s.authMessage + "," + withoutProof
	clientKey := s.hash.mac(s.keys.storedKey, authMessage)
	for i := range clientKey {
		clientKey[i] ^= proof[i]
	}
	stored := s.hash.new()
	stored.Write(clientKey)
	if !hmac.Equal(stored.Sum(nil), s.keys.storedKey) {
		return "", errProof
	}
	return "v=" + base64.StdEncoding.EncodeToString(s.hash.mac(s.keys.serverKey, authMessage)), nil
}

// unescapeName decodes a saslname: =2C and =3D stand for a comma and an equals
// sign. It passes on a false ok.
func unescapeName(s string, ok bool) (string, bool) {
	if !ok || s == "" {
		return "", false
	}
	rest := strings.ReplaceAll(strings.ReplaceAll(s, "=2C", ""), "=3D", "")
	if strings.ContainsAny(rest, "=\x00") {
		return "", false
	}
	return strings.NewReplacer("=2C", ",", "=3D", "=").Replace(s), true
}

// isNonce reports whether s has only the characters of a nonce.
func isNonce(s string) bool {
	return s != "" && !bytes.ContainsFunc([]byte(s), func(r rune) bool {
		return r < '!' || r > '~' || r == ','
	})
}
