package mvcc

import (
	"encoding/binary"
	"fmt"
)

// KeyValue is one version of a key, with etcd's meanings.
type KeyValue struct {
	Key            []byte
	Value          []byte
	CreateRevision int64 // revision at which the key last came into being
	ModRevision    int64 // revision of this version
	Version        int64 // number of puts since creation, this one included
	Lease          int64 // lease that the key is attached to; zero: none
}

// stamp orders all changes: revision first, then the place within it. One
// transaction makes one revision; its changes count up from zero.
type stamp struct {
	rev int64
	sub uint32
}

func (s stamp) less(o stamp) bool { return s.rev < o.rev || (s.rev == o.rev && s.sub < o.sub) }

// version is a KeyValue with its place within the revision, or a tombstone.
type version struct {
	KeyValue
	sub       uint32
	tombstone bool
}

func (v *version) stamp() stamp { return stamp{v.ModRevision, v.sub} }

const (
	recordVersion   = 1
	recordTombstone = 0x80 // flag in the version byte
)

// appendRecord encodes a version as the current and history tables hold it:
//
//	byte     format version; bit 7: tombstone, then nothing follows
//	uvarint  create revision
//	uvarint  mod revision
//	uvarint  sub: place within the mod revision
//	uvarint  version
//	varint   lease
//	...      value
func appendRecord(dst []byte, v *version) []byte {
	if v.tombstone {
		return append(dst, recordVersion|recordTombstone)
	}
	dst = append(dst, recordVersion)
	dst = binary.AppendUvarint(dst, uint64(v.CreateRevision))
	dst = binary.AppendUvarint(dst, uint64(v.ModRevision))
	dst = binary.AppendUvarint(dst, uint64(v.sub))
	dst = binary.AppendUvarint(dst, uint64(v.Version))
	dst = binary.AppendVarint(dst, v.Lease)
	return append(dst, v.Value...)
}

// decodeRecord decodes what appendRecord wrote. The value aliases b; the key is
// left to the caller, as is the stamp of a tombstone.
func decodeRecord(b []byte, v *version) error {
	if len(b) == 0 {
		return fmt.Errorf("%w: empty version record", ErrCorrupt)
	}
	if b[0]&^recordTombstone != recordVersion {
		return fmt.Errorf("%w: version record 0x%02x", ErrVersion, b[0])
	}
	if b[0]&recordTombstone != 0 {
		if len(b) != 1 {
			return fmt.Errorf("%w: tombstone of %d bytes", ErrCorrupt, len(b))
		}
		*v = version{tombstone: true}
		return nil
	}
	d := decoder{b: b[1:]}
	v.tombstone = false
	v.CreateRevision = int64(d.uvarint())
	v.ModRevision = int64(d.uvarint())
	v.sub = uint32(d.uvarint())
	v.Version = int64(d.uvarint())
	v.Lease = d.varint()
	v.Value = d.b
	if d.bad {
		return fmt.Errorf("%w: version record of %d bytes", ErrCorrupt, len(b))
	}
	return nil
}

// appendCached encodes a version for the cache: its mod revision, so that a
// tombstone has one, too, then the record.
func appendCached(dst []byte, v *version) []byte {
	return appendRecord(binary.LittleEndian.AppendUint64(dst, uint64(v.ModRevision)), v)
}

// decodeCached decodes what appendCached wrote, and reports whether it is the
// version at revision at: being the newest, it is that or too new.
func decodeCached(b []byte, at int64, v *version) (bool, error) {
	mod := int64(binary.LittleEndian.Uint64(b))
	if mod > at {
		return false, nil
	}
	err := decodeRecord(b[8:], v)
	v.ModRevision = mod
	return true, err
}

// decoder reads varints and remembers failure, so that callers check once.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) uvarint() uint64 {
	if len(d.b) > 0 && d.b[0] < 0x80 {
		v := d.b[0]
		d.b = d.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.bad = true
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

// Head is the replicated summary of a shard's history.
type Head struct {
	// Revision is that of the newest change; an empty store is at 1. It never
	// decreases, also across restarts (M3).
	Revision int64
	// Compacted is the revision of the last compaction, -1 before the first.
	// Reads below it fail (M5).
	Compacted int64
	// Written counts the logical bytes of all versions ever made, Garbage those of
	// versions that have a successor, Freed the part of Garbage that compaction gave
	// up. All three only grow.
	Written, Garbage, Freed int64
}

// LogicalBytes is the size that quotas see: what a reader could still ask for. It
// depends on the replicated history alone, not on what is physically gone.
func (h Head) LogicalBytes() int64 { return h.Written - h.Freed }

const headVersion = 1

func appendHead(dst []byte, h Head) []byte {
	dst = append(dst, headVersion)
	dst = binary.AppendUvarint(dst, uint64(h.Revision))
	dst = binary.AppendVarint(dst, h.Compacted)
	dst = binary.AppendUvarint(dst, uint64(h.Written))
	dst = binary.AppendUvarint(dst, uint64(h.Garbage))
	return binary.AppendUvarint(dst, uint64(h.Freed))
}

func decodeHead(b []byte) (Head, error) {
	if len(b) == 0 || b[0] != headVersion {
		return Head{}, fmt.Errorf("%w: head % x", ErrVersion, b)
	}
	d := decoder{b: b[1:]}
	h := Head{
		Revision:  int64(d.uvarint()),
		Compacted: d.varint(),
		Written:   int64(d.uvarint()),
		Garbage:   int64(d.uvarint()),
		Freed:     int64(d.uvarint()),
	}
	if d.bad || len(d.b) != 0 || h.Revision < 1 || h.Compacted > h.Revision {
		return Head{}, fmt.Errorf("%w: head % x", ErrCorrupt, b)
	}
	return h, nil
}

// changeKind says what an entry of the event index did to its key.
type changeKind uint8

const (
	changeCreate changeKind = 1 // the key did not exist
	changeUpdate changeKind = 2
	changeDelete changeKind = 3
)

// change is an entry of the event index.
type change struct {
	stamp
	kind changeKind
	// superseded: a later change of the same revision hit the same key. A put in a
	// transaction that also deletes "from key on" can do that.
	superseded bool
	prev       stamp // of the version that this change replaced; zero for a create
	garbage    int64 // Head.Garbage after this change
	key        []byte
}

const (
	changeVersion    = 1
	changeKindMask   = 0x03
	changeSuperseded = 0x04
)

// appendChange encodes the value of an event index entry; its key has the stamp.
//
//	byte     format version
//	byte     bits 0-1 kind, bit 2 superseded
//	uvarint  prev revision, uvarint prev sub   (not for a create)
//	uvarint  garbage
//	...      key
func appendChange(dst []byte, c *change) []byte {
	flags := byte(c.kind)
	if c.superseded {
		flags |= changeSuperseded
	}
	dst = append(dst, changeVersion, flags)
	if c.kind != changeCreate {
		dst = binary.AppendUvarint(dst, uint64(c.prev.rev))
		dst = binary.AppendUvarint(dst, uint64(c.prev.sub))
	}
	dst = binary.AppendUvarint(dst, uint64(c.garbage))
	return append(dst, c.key...)
}

// decodeChange decodes the value of an event index entry. The key aliases b.
func decodeChange(b []byte, c *change) error {
	d := decoder{b: b}
	if v := d.byte(); v != changeVersion {
		return fmt.Errorf("%w: event index entry %d", ErrVersion, v)
	}
	flags := d.byte()
	c.kind = changeKind(flags & changeKindMask)
	c.superseded = flags&changeSuperseded != 0
	c.prev = stamp{}
	if c.kind != changeCreate {
		c.prev = stamp{int64(d.uvarint()), uint32(d.uvarint())}
	}
	c.garbage = int64(d.uvarint())
	c.key = d.b
	if d.bad || c.kind == 0 || flags&^(changeKindMask|changeSuperseded) != 0 {
		return fmt.Errorf("%w: event index entry of %d bytes", ErrCorrupt, len(b))
	}
	return nil
}
