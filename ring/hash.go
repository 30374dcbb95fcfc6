package ring

import (
	"crypto/sha1"
	"encoding/binary"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// Token is a position on the circle of 2^64 positions.
type Token uint64

// Hash lays nodes and keys on the circle. Its answers must be a function of the arguments,
// and spread like chance.
type Hash interface {
	// Token is the position of a node's token number i, from 0 on.
	Token(seed uint64, node NodeID, i int) Token
	// Key is the position of a key made of bytes.
	Key(seed uint64, key []byte) Token
	// Number is the position of a key that is a number. It is Key of the number's eight
	// bytes, big-endian, and there to spare the caller these.
	Number(seed uint64, key uint64) Token
}

// XX is XXH64, the hash of a ring that names none. Whoever has that function can
// compute the same ring:
//
//	token i of a node   XXH64(seed, node: 8 bytes ‖ i: 4 bytes)
//	a key               XXH64(seed, key)
//
// Numbers are big-endian.
type XX struct{}

// Token implements Hash.
func (XX) Token(seed uint64, node NodeID, i int) Token {
	var b [12]byte
	binary.BigEndian.PutUint64(b[:], uint64(node))
	binary.BigEndian.PutUint32(b[8:], uint32(i))
	return XX{}.Key(seed, b[:])
}

// Key implements Hash.
func (XX) Key(seed uint64, key []byte) Token {
	var d xxhash.Digest
	d.ResetWithSeed(seed)
	_, _ = d.Write(key) // cannot fail
	return Token(d.Sum64())
}

// Number implements Hash.
func (XX) Number(seed, key uint64) Token {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], key)
	return XX{}.Key(seed, b[:])
}

// SHA1 is for rings that must agree with those of other programs. As in ketama, a node's
// tokens are cut from digests of its name and a counter. A digest of 20 bytes gives two
// tokens of 8:
//
//	token i of a node   bytes 8·(i mod 2) and following of SHA-1(prefix ‖ "NODE-K"),
//	                    where NODE and K = i/2 are written in decimal
//	a key               the first 8 bytes of SHA-1(prefix ‖ key)
//
// Eight bytes are read as a big-endian number. The prefix is empty with seed 0, otherwise
// it is the seed in 8 bytes, big-endian.
type SHA1 struct{}

// Token implements Hash.
func (SHA1) Token(seed uint64, node NodeID, i int) Token {
	var stack [64]byte
	name := strconv.AppendUint(prefix(stack[:0], seed), uint64(node), 10)
	name = strconv.AppendInt(append(name, '-'), int64(i/2), 10)
	sum := sha1.Sum(name)
	return Token(binary.BigEndian.Uint64(sum[8*(i%2):]))
}

// Key implements Hash.
func (SHA1) Key(seed uint64, key []byte) Token {
	var stack [256]byte
	sum := sha1.Sum(append(prefix(stack[:0], seed), key...))
	return Token(binary.BigEndian.Uint64(sum[:]))
}

// Number implements Hash.
func (SHA1) Number(seed, key uint64) Token {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], key)
	return SHA1{}.Key(seed, b[:])
}

func prefix(to []byte, seed uint64) []byte {
	if seed == 0 {
		return to
	}
	return binary.BigEndian.AppendUint64(to, seed)
}
