package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The peer protocol versions that this build speaks. The version decides how frames
// and packets are read; the handshake itself only ever grows at its end.
const (
	minProtocol = 1
	maxProtocol = 1
)

// magic opens both directions. Its first byte is no letter and no TLS record type, and
// the line end shows a transfer that rewrites text.
const magic = "\x93QPEER\r\n"

// The fixed part of a handshake message: magic, version range, body length, CRC32C of
// all of it but the magic.
const (
	handshakeHeaderBytes = 20
	handshakeVersionsOff = 8
	handshakeLengthOff   = 12
	handshakeSumOff      = 16
)

// Bounds of what travels in a handshake, in bytes.
const (
	maxHandshakeBytes = 4 << 10 // body; leaves room to grow
	maxNameBytes      = 255
	maxRefusalBytes   = 1 << 10
	maxTermsBytes     = 1 << 10
)

// verdict is the acceptor's answer to a hello.
type verdict struct {
	Reason   Reason // zero: accepted
	Identity Identity
	Boot     uint64
	Text     string // of a refusal
}

// versions is a closed range of protocol versions.
type versions struct{ Min, Max uint16 }

var ourVersions = versions{minProtocol, maxProtocol}

// common returns the highest version of both ranges.
func (v versions) common(o versions) (uint16, bool) {
	high := min(v.Max, o.Max)
	return high, high >= max(v.Min, o.Min)
}

func appendHandshake(v versions, body []byte) []byte {
	b := make([]byte, 0, handshakeHeaderBytes+len(body))
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint16(b, v.Min)
	b = binary.LittleEndian.AppendUint16(b, v.Max)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	sum := crc32.Update(crc32.Checksum(b[handshakeVersionsOff:], castagnoli), castagnoli, body)
	b = binary.LittleEndian.AppendUint32(b, sum)
	return append(b, body...)
}

// readHandshake reads one handshake message; it takes nothing from r beyond it.
func readHandshake(r io.Reader) (versions, []byte, error) {
	var header [handshakeHeaderBytes]byte
	if n, err := io.ReadFull(r, header[:len(magic)]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return versions{}, nil, fmt.Errorf("%w: it sent %q and closed", ErrNotPeer, header[:n])
		}
		return versions{}, nil, err
	}
	if string(header[:len(magic)]) != magic {
		return versions{}, nil, fmt.Errorf("%w: %s", ErrNotPeer, describeStranger(header[:len(magic)]))
	}
	if _, err := io.ReadFull(r, header[len(magic):]); err != nil {
		return versions{}, nil, unexpected(err)
	}
	length := binary.LittleEndian.Uint32(header[handshakeLengthOff:])
	if length > maxHandshakeBytes {
		return versions{}, nil, fmt.Errorf("%w: handshake of %d bytes, limit %d", ErrTooLarge, length, maxHandshakeBytes)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return versions{}, nil, unexpected(err)
	}
	sum := crc32.Checksum(header[handshakeVersionsOff:handshakeSumOff], castagnoli)
	if crc32.Update(sum, castagnoli, body) != binary.LittleEndian.Uint32(header[handshakeSumOff:]) {
		return versions{}, nil, fmt.Errorf("%w: checksum of the handshake", ErrMalformed)
	}
	v := versions{
		Min: binary.LittleEndian.Uint16(header[handshakeVersionsOff:]),
		Max: binary.LittleEndian.Uint16(header[handshakeVersionsOff+2:]),
	}
	return v, body, nil
}

// unexpected turns an end of stream where bytes must follow into io.ErrUnexpectedEOF.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// describeStranger guesses what speaks on a connection from its first bytes.
func describeStranger(first []byte) string {
	const tlsHandshakeRecord = 0x16
	switch {
	case first[0] == tlsHandshakeRecord:
		return "it speaks TLS and this side does not"
	case bytes.HasPrefix(first, []byte("PRI * ")):
		return "it speaks HTTP/2; client URLs and peer URLs may be mixed up"
	case bytes.HasPrefix(first, []byte("HTTP/")), bytes.HasPrefix(first, []byte("GET ")), bytes.HasPrefix(first, []byte("POST ")):
		return "it speaks HTTP; client URLs and peer URLs may be mixed up"
	}
	return fmt.Sprintf("its first bytes are %q", first)
}

func appendHello(dst []byte, h *Hello) []byte {
	dst = append(dst, byte(h.Purpose))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.Expected))
	dst = appendIdentity(dst, &h.Identity, h.Boot)
	return appendTerms(dst, h.Terms)
}

func decodeHello(body []byte) (Hello, error) {
	c := cursor{rest: body}
	var h Hello
	h.Purpose = Purpose(c.u8())
	h.Expected = NodeID(c.u64())
	h.Identity, h.Boot = c.identity()
	h.Terms = c.terms()
	// What follows comes from a newer build and is optional by definition.
	switch {
	case c.bad:
		return h, fmt.Errorf("%w: hello of %d bytes", ErrMalformed, len(body))
	case h.Purpose < PurposeMessages || h.Purpose > PurposeProbe:
		return h, fmt.Errorf("%w: hello with %v", ErrMalformed, h.Purpose)
	case h.Node > MaxNodeID || (h.Node == 0 && h.Purpose != PurposeProbe):
		return h, fmt.Errorf("%w: hello of node %v", ErrMalformed, h.Node)
	}
	return h, nil
}

func appendVerdict(dst []byte, v *verdict) []byte {
	dst = append(dst, byte(v.Reason))
	dst = appendIdentity(dst, &v.Identity, v.Boot)
	text := cut(v.Text, maxRefusalBytes)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(text)))
	dst = append(dst, text...)
	return appendTerms(dst, v.Identity.Terms)
}

func decodeVerdict(body []byte) (verdict, error) {
	c := cursor{rest: body}
	var v verdict
	v.Reason = Reason(c.u8())
	v.Identity, v.Boot = c.identity()
	v.Text = printable(c.bytes(uint64(c.u16())))
	v.Identity.Terms = c.terms()
	if c.bad {
		return v, fmt.Errorf("%w: verdict of %d bytes", ErrMalformed, len(body))
	}
	return v, nil
}

func appendIdentity(dst []byte, id *Identity, boot uint64) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, id.Cluster)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(id.Node))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(id.Incarnation))
	dst = binary.LittleEndian.AppendUint64(dst, id.Disk)
	dst = binary.LittleEndian.AppendUint32(dst, id.MinLevel)
	dst = binary.LittleEndian.AppendUint32(dst, id.MaxLevel)
	dst = binary.LittleEndian.AppendUint64(dst, boot)
	name := cut(id.Name, maxNameBytes)
	dst = append(dst, byte(len(name)))
	return append(dst, name...)
}

func (c *cursor) identity() (Identity, uint64) {
	id := Identity{
		Cluster: c.u64(), Node: NodeID(c.u64()), Incarnation: Incarnation(c.u16()), Disk: c.u64(),
		MinLevel: c.u32(), MaxLevel: c.u32(),
	}
	boot := c.u64()
	id.Name = printable(c.bytes(uint64(c.u8())))
	return id, boot
}

// appendTerms adds what came with a later build than the rest: behind everything else,
// where an earlier one does not look.
func appendTerms(dst []byte, terms string) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(terms)))
	return append(dst, terms...)
}

// terms reads what an earlier build leaves out.
func (c *cursor) terms() string {
	if c.bad || len(c.rest) == 0 {
		return ""
	}
	n := c.u16()
	if n > maxTermsBytes {
		c.fail()
	}
	return string(c.bytes(uint64(n)))
}

// cut shortens s to at most n bytes without splitting a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// printable makes another node's words safe for logs and terminals.
func printable(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, string(b))
}
