package wire

import (
	"encoding/base64"
	"encoding/binary"
	"slices"
)

// The bytes of Opaque are base64, and large: package base64 takes its time for a few bytes
// at a step. The following take more of them, and leave the rest to it.

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// pairs are the two digits of 12 bits.
var pairs = func() (t [1 << 12]uint16) {
	for i := range t {
		t[i] = uint16(alphabet[i>>6]) | uint16(alphabet[i&63])<<8
	}
	return t
}()

// values are what a digit is worth as the first to fourth of four, and noDigit for all
// other bytes.
var values = func() (t [4][256]uint32) {
	for i := range t {
		for c := range t[i] {
			t[i][c] = noDigit
		}
		for v, c := range []byte(alphabet) {
			t[i][c] = uint32(v) << (18 - 6*i)
		}
	}
	return t
}()

const noDigit = 1 << 24

// appendBase64 is AppendEncode of [base64.StdEncoding].
func appendBase64(dst, src []byte) []byte {
	dst = slices.Grow(dst, base64.StdEncoding.EncodedLen(len(src)))
	n := len(dst)
	for len(src) >= 8 { // six bytes at a time, of eight that are read
		v := binary.BigEndian.Uint64(src)
		binary.LittleEndian.PutUint64(dst[n:n+8], uint64(pairs[v>>52])|uint64(pairs[v>>40&0xfff])<<16|
			uint64(pairs[v>>28&0xfff])<<32|uint64(pairs[v>>16&0xfff])<<48)
		src, n = src[6:], n+8
	}
	return base64.StdEncoding.AppendEncode(dst[:n], src)
}

// appendDecoded is AppendDecode of [base64.StdEncoding].
func appendDecoded(dst, src []byte) ([]byte, error) {
	dst = slices.Grow(dst, base64.StdEncoding.DecodedLen(len(src)))
	n := len(dst)
	for len(src) >= 8 && cap(dst)-n >= 8 { // eight digits at a time; two bytes too many are written
		a := values[0][src[0]] | values[1][src[1]] | values[2][src[2]] | values[3][src[3]]
		b := values[0][src[4]] | values[1][src[5]] | values[2][src[6]] | values[3][src[7]]
		if (a|b)&noDigit != 0 { // the end, or a line break
			break
		}
		binary.BigEndian.PutUint64(dst[n:n+8], uint64(a)<<40|uint64(b)<<16)
		src, n = src[8:], n+6
	}
	return base64.StdEncoding.AppendDecode(dst[:n], src)
}
