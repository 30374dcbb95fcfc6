package env

import (
	"crypto/rand"
	"encoding/binary"
)

// Seed returns 64 bits from the operating system's random source. Everything that
// needs chance takes a seed or a source made from one.
func Seed() uint64 {
	var b [8]byte
	// Since Go 1.24 rand.Read never returns an error: it ends the process instead.
	_, _ = rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}
