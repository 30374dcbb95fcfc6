package ring

import (
	"crypto/sha1"
	"encoding/binary"
	"testing"

	"github.com/cespare/xxhash/v2"
)

// Goal: XX is XXH64 with its seed. Method: the vectors that the algorithm's authors
// publish for a text of 14 bytes are in the library's tests; here we see that we hand it
// the right bytes.
func TestXXBytes(t *testing.T) {
	sum := func(seed uint64, b []byte) Token {
		d := xxhash.NewWithSeed(seed)
		_, _ = d.Write(b)
		return Token(d.Sum64())
	}
	for _, seed := range []uint64{0, 5} {
		want := sum(seed, []byte{0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 3})
		if got := (XX{}).Token(seed, 0x102, 3); got != want {
			t.Errorf("token 3 of node 0x102 is %x, not %x", got, want)
		}
		if got, want := (XX{}).Number(seed, 0x102), sum(seed, []byte{0, 0, 0, 0, 0, 0, 1, 2}); got != want {
			t.Errorf("number 0x102 is %x, not %x", got, want)
		}
	}
}

// Goal: SHA1 is as its comment says, so that somebody else can compute it.
func TestSHA1Bytes(t *testing.T) {
	part := func(text string, from int) Token {
		sum := sha1.Sum([]byte(text))
		return Token(binary.BigEndian.Uint64(sum[from:]))
	}
	seed := string([]byte{0, 0, 0, 0, 0, 0, 0, 9})
	for _, c := range []struct {
		what      string
		got, want Token
	}{
		{"token 0", SHA1{}.Token(0, 258, 0), part("258-0", 0)},
		{"token 1", SHA1{}.Token(0, 258, 1), part("258-0", 8)},
		{"token 2", SHA1{}.Token(0, 258, 2), part("258-1", 0)},
		{"token 21", SHA1{}.Token(0, 258, 21), part("258-10", 8)},
		{"token 2 with a seed", SHA1{}.Token(9, 258, 2), part(seed+"258-1", 0)},
		{"a key", SHA1{}.Key(0, []byte("key")), part("key", 0)},
		{"a key with a seed", SHA1{}.Key(9, []byte("key")), part(seed+"key", 0)},
		{"a number", SHA1{}.Number(0, 0x6b6579), part("\x00\x00\x00\x00\x00key", 0)},
	} {
		if c.got != c.want {
			t.Errorf("%s is %x, not %x", c.what, c.got, c.want)
		}
	}
}
