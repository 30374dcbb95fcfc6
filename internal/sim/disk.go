package sim

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// sectorBytes is the unit that a crash keeps or loses: what disks write atomically.
const sectorBytes = 512

// disk is a file system in memory that forgets, on a crash, what was not synced:
// sector by sector and directory entry by directory entry, each kept or lost by
// chance. It implements env.FS.
type disk struct {
	rng     *rand.Rand
	now     map[string]*inode // what a process sees
	durable map[string]*inode // directory entries that a crash keeps
	locks   map[string]bool

	full    bool // writes that need space fail with ENOSPC
	badSync bool // the next sync fails with EIO
	left    int  // operations until the disk is dead; zero: it lives
	dead    bool // every operation that changes something fails until the crash
}

type inode struct {
	dir   bool
	data  []byte
	kept  []byte   // content that a crash keeps
	dirty []uint64 // a bit per sector of data that differs from kept
}

var (
	errDiskFull = &os.PathError{Op: "write", Path: "sim", Err: syscall.ENOSPC}
	errSync     = &os.PathError{Op: "fdatasync", Path: "sim", Err: syscall.EIO}
	errDead     = errors.New("the process has ended at this operation")
)

func newDisk(rng *rand.Rand) *disk {
	return &disk{rng: rng, now: make(map[string]*inode), durable: make(map[string]*inode), locks: make(map[string]bool)}
}

// crash leaves what a power loss would. Unsynced sectors and entries survive with
// probability keep each.
func (d *disk) crash(keep float64) {
	names := make(map[string]bool)
	for name := range d.now {
		names[name] = true
	}
	for name := range d.durable {
		names[name] = true
	}
	after := make(map[string]*inode)
	for _, name := range sorted(names) {
		node := d.durable[name]
		if d.now[name] != node && d.rng.Float64() < keep {
			node = d.now[name]
		}
		if node != nil {
			after[name] = node
		}
	}
	for _, name := range sorted(after) {
		after[name].crash(d.rng, keep)
	}
	d.now, d.durable = after, make(map[string]*inode, len(after))
	for name, node := range after {
		d.durable[name] = node
	}
	d.locks = make(map[string]bool)
	d.full, d.badSync, d.dead, d.left = false, false, false, 0
}

// rot flips a bit of the log's files, in what was written and synced.
func (d *disk) rot() (name string, offset int) {
	var logs []string
	for _, name := range sorted(d.now) {
		if strings.HasSuffix(name, ".wal") {
			logs = append(logs, name)
		}
	}
	name = logs[d.rng.IntN(len(logs))]
	n := d.now[name]
	end := len(n.kept)
	for end > 1 && n.kept[end-1] == 0 {
		end--
	}
	offset = d.rng.IntN(end)
	n.kept[offset] ^= 1 << d.rng.IntN(8)
	n.data[offset] = n.kept[offset]
	return name, offset
}

// dieAfter makes the count-th operation from now on the one at which the process
// ends: it and all later ones change nothing.
func (d *disk) dieAfter(count int) { d.left = count }

// act is called by every operation that changes something.
func (d *disk) act() error {
	if d.left > 0 {
		d.left--
		d.dead = d.left == 0
	}
	if d.dead {
		return errDead
	}
	return nil
}

func sorted[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (n *inode) crash(rng *rand.Rand, keep float64) {
	for i := range (len(n.data) + sectorBytes - 1) / sectorBytes {
		if !n.isDirty(i) {
			continue
		}
		lo, hi := i*sectorBytes, min((i+1)*sectorBytes, len(n.data))
		if rng.Float64() < keep {
			n.keep(lo, hi)
		}
	}
	n.data = slices.Clone(n.kept)
	clear(n.dirty)
}

func (n *inode) isDirty(sector int) bool {
	return sector/64 < len(n.dirty) && n.dirty[sector/64]&(1<<(sector%64)) != 0
}

func (n *inode) keep(lo, hi int) {
	if hi > len(n.kept) {
		n.kept = append(n.kept, make([]byte, hi-len(n.kept))...)
	}
	copy(n.kept[lo:hi], n.data[lo:hi])
}

func (n *inode) writeAt(p []byte, off int) {
	if end := off + len(p); end > len(n.data) {
		n.data = append(n.data, make([]byte, end-len(n.data))...)
	}
	copy(n.data[off:], p)
	for s := off / sectorBytes; s*sectorBytes < off+len(p); s++ {
		for s/64 >= len(n.dirty) {
			n.dirty = append(n.dirty, 0)
		}
		n.dirty[s/64] |= 1 << (s % 64)
	}
}

func (n *inode) sync() {
	for w, bits := range n.dirty {
		for b := 0; bits != 0; b, bits = b+1, bits>>1 {
			if bits&1 != 0 {
				lo := (w*64 + b) * sectorBytes
				n.keep(min(lo, len(n.data)), min(lo+sectorBytes, len(n.data)))
			}
		}
	}
	clear(n.dirty)
	n.kept = n.kept[:min(len(n.kept), len(n.data))]
}

// file is an open inode.
type file struct {
	d    *disk
	name string
	node *inode
	at   int
}

func (f *file) Close() error { return nil }

func (f *file) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, int64(f.at))
	f.at += n
	if n > 0 {
		err = nil
	}
	return n, err
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) Write(p []byte) (int, error) {
	n, err := f.WriteAt(p, int64(f.at))
	f.at += n
	return n, err
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	if err := f.d.act(); err != nil {
		return 0, err
	}
	if f.d.full && int(off)+len(p) > len(f.node.data) {
		return 0, errDiskFull
	}
	f.node.writeAt(p, int(off))
	return len(p), nil
}

func (f *file) Preallocate(off, length int64) error {
	if err := f.d.act(); err != nil {
		return err
	}
	if end := int(off + length); end > len(f.node.data) {
		if f.d.full {
			return errDiskFull
		}
		f.node.writeAt(make([]byte, end-len(f.node.data)), len(f.node.data))
	}
	return nil
}

func (f *file) Sync() error {
	if err := f.d.act(); err != nil {
		return err
	}
	if f.d.badSync {
		f.d.badSync = false
		return errSync
	}
	if !f.node.dir {
		f.node.sync()
		return nil
	}
	for name := range f.d.durable {
		if path.Dir(name) == f.name && f.d.now[name] != f.d.durable[name] {
			delete(f.d.durable, name)
		}
	}
	for name, node := range f.d.now {
		if path.Dir(name) == f.name {
			f.d.durable[name] = node
		}
	}
	return nil
}

func (f *file) SyncData() error             { return f.Sync() }
func (f *file) SyncTo(int64) (bool, error)  { return true, f.Sync() }
func (f *file) Prefetch(int64, int64) error { return nil }
func (f *file) Fd() uintptr                 { return vfs.InvalidFd }
func (f *file) Stat() (vfs.FileInfo, error) { return info{f.name, f.node}, nil }

type info struct {
	name string
	node *inode
}

func (i info) Name() string           { return path.Base(i.name) }
func (i info) Size() int64            { return int64(len(i.node.data)) }
func (i info) Mode() fs.FileMode      { return 0o600 }
func (i info) ModTime() time.Time     { return time.Time{} }
func (i info) IsDir() bool            { return i.node.dir }
func (i info) Sys() any               { return nil }
func (i info) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }

func notExist(op, name string) error { return &os.PathError{Op: op, Path: name, Err: os.ErrNotExist} }

func (d *disk) Create(name string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	if err := d.act(); err != nil {
		return nil, err
	}
	if d.full {
		return nil, errDiskFull
	}
	n := &inode{}
	d.now[name] = n
	return &file{d: d, name: name, node: n}, nil
}

func (d *disk) Open(name string, _ ...vfs.OpenOption) (vfs.File, error) {
	n, ok := d.now[name]
	if !ok {
		return nil, notExist("open", name)
	}
	return &file{d: d, name: name, node: n}, nil
}

func (d *disk) OpenReadWrite(name string, c vfs.DiskWriteCategory, _ ...vfs.OpenOption) (vfs.File, error) {
	if _, ok := d.now[name]; !ok {
		return d.Create(name, c)
	}
	return d.Open(name)
}

func (d *disk) OpenDir(name string) (vfs.File, error) { return d.Open(name) }

func (d *disk) Link(oldname, newname string) error {
	n, ok := d.now[oldname]
	if !ok {
		return notExist("link", oldname)
	}
	d.now[newname] = n
	return nil
}

func (d *disk) Remove(name string) error {
	if err := d.act(); err != nil {
		return err
	}
	if _, ok := d.now[name]; !ok {
		return notExist("remove", name)
	}
	delete(d.now, name)
	return nil
}

func (d *disk) RemoveAll(name string) error {
	for _, x := range sorted(d.now) {
		if x == name || strings.HasPrefix(x, name+"/") {
			delete(d.now, x)
		}
	}
	return nil
}

func (d *disk) Rename(oldname, newname string) error {
	if err := d.act(); err != nil {
		return err
	}
	n, ok := d.now[oldname]
	if !ok {
		return notExist("rename", oldname)
	}
	delete(d.now, oldname)
	d.now[newname] = n
	return nil
}

func (d *disk) ReuseForWrite(oldname, newname string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	if err := d.Rename(oldname, newname); err != nil {
		return nil, err
	}
	return d.Open(newname)
}

// MkdirAll makes directories durable at once: how a node's directories come to be
// is tested by the packages that make them.
func (d *disk) MkdirAll(dir string, _ os.FileMode) error {
	for ; dir != "." && dir != "/"; dir = path.Dir(dir) {
		if d.now[dir] == nil {
			n := &inode{dir: true}
			d.now[dir], d.durable[dir] = n, n
		}
	}
	if d.now[dir] == nil {
		n := &inode{dir: true}
		d.now[dir], d.durable[dir] = n, n
	}
	return nil
}

func (d *disk) Lock(name string) (io.Closer, error) {
	if d.locks[name] {
		return nil, errors.New("locked")
	}
	d.locks[name] = true
	return unlock{d, name}, nil
}

type unlock struct {
	d    *disk
	name string
}

func (u unlock) Close() error {
	delete(u.d.locks, u.name)
	return nil
}

func (d *disk) List(dir string) ([]string, error) {
	var names []string
	for _, x := range sorted(d.now) {
		if path.Dir(x) == dir && x != dir {
			names = append(names, path.Base(x))
		}
	}
	return names, nil
}

func (d *disk) Stat(name string) (vfs.FileInfo, error) {
	n, ok := d.now[name]
	if !ok {
		return nil, notExist("stat", name)
	}
	return info{name, n}, nil
}

func (d *disk) PathBase(p string) string       { return path.Base(p) }
func (d *disk) PathJoin(elem ...string) string { return path.Join(elem...) }
func (d *disk) PathDir(p string) string        { return path.Dir(p) }
func (d *disk) Unwrap() vfs.FS                 { return nil }
func (d *disk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: 1 << 40, TotalBytes: 1 << 40}, nil
}
