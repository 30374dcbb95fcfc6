package wal

import (
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/quorate/quorate/internal/env"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// fileOp is one operation on the disk.
type fileOp struct {
	kind   string // mkdir, lock, openrw, write, prealloc, sync, syncdata, syncdir, rename, remove, read
	name   string
	offset int64
	data   []byte // of a write
}

func (op *fileOp) mutates() bool { return op.kind != "read" && op.kind != "lock" }

// faultFS asks before every operation whether it may happen.
type faultFS struct {
	env.FS
	before func(*fileOp) error
	locks  []io.Closer
}

// unlock lets go of all locks.
func (f *faultFS) unlock() {
	for _, lock := range f.locks {
		_ = lock.Close()
	}
}

func (f *faultFS) ask(kind, name string) error { return f.before(&fileOp{kind: kind, name: name}) }

func (f *faultFS) MkdirAll(dir string, perm os.FileMode) error {
	if err := f.ask("mkdir", dir); err != nil {
		return err
	}
	return f.FS.MkdirAll(dir, perm)
}

func (f *faultFS) Lock(name string) (io.Closer, error) {
	if err := f.ask("lock", name); err != nil {
		return nil, err
	}
	lock, err := f.FS.Lock(name)
	if err == nil {
		f.locks = append(f.locks, lock)
	}
	return lock, err
}

func (f *faultFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (env.File, error) {
	if err := f.ask("openrw", name); err != nil {
		return nil, err
	}
	file, err := f.FS.OpenReadWrite(name, c, opts...)
	return f.wrap(file, name, "sync", err)
}

func (f *faultFS) Open(name string, opts ...vfs.OpenOption) (env.File, error) {
	file, err := f.FS.Open(name, opts...)
	return f.wrap(file, name, "sync", err)
}

func (f *faultFS) OpenDir(name string) (env.File, error) {
	file, err := f.FS.OpenDir(name)
	return f.wrap(file, name, "syncdir", err)
}

func (f *faultFS) wrap(file env.File, name, sync string, err error) (env.File, error) {
	if err != nil {
		return nil, err
	}
	return &faultFile{File: file, fs: f, name: name, sync: sync}, nil
}

func (f *faultFS) Rename(from, to string) error {
	if err := f.ask("rename", from); err != nil {
		return err
	}
	return f.FS.Rename(from, to)
}

func (f *faultFS) Remove(name string) error {
	if err := f.ask("remove", name); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

type faultFile struct {
	env.File
	fs   *faultFS
	name string
	sync string
}

func (f *faultFile) ReadAt(b []byte, offset int64) (int, error) {
	if err := f.fs.before(&fileOp{kind: "read", name: f.name, offset: offset, data: b}); err != nil {
		return 0, err
	}
	return f.File.ReadAt(b, offset)
}

func (f *faultFile) WriteAt(b []byte, offset int64) (int, error) {
	if err := f.fs.before(&fileOp{kind: "write", name: f.name, offset: offset, data: b}); err != nil {
		return 0, err
	}
	return f.File.WriteAt(b, offset)
}

func (f *faultFile) Preallocate(offset, length int64) error {
	if err := f.fs.before(&fileOp{kind: "prealloc", name: f.name}); err != nil {
		return err
	}
	return f.File.Preallocate(offset, length)
}

func (f *faultFile) Sync() error {
	if err := f.fs.before(&fileOp{kind: f.sync, name: f.name}); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faultFile) SyncData() error {
	if err := f.fs.before(&fileOp{kind: "syncdata", name: f.name}); err != nil {
		return err
	}
	return f.File.SyncData()
}

// sectorBytes is the smallest piece that a disk writes as a whole.
const sectorBytes = 512

// tornClone is the disk after a crash that keeps any mix of old and new sectors of
// what was not synced, and of the write in flight, if there is one.
func tornClone(t testing.TB, mem *vfs.MemFS, flight *fileOp, rng *rand.Rand) *vfs.MemFS {
	t.Helper()
	clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng})
	synced := mem.CrashClone(vfs.CrashCloneCfg{})
	names, err := clone.List("wal")
	if err != nil {
		return clone // not even the directory
	}
	for _, name := range names {
		if !strings.Contains(name, ".") {
			continue
		}
		data := contents(t, clone, "wal/"+name)
		now, err := mem.UnsafeGetFileDataBuffer("wal/" + name)
		if err != nil || len(now) != len(data) {
			continue
		}
		old, err := synced.UnsafeGetFileDataBuffer("wal/" + name)
		if err != nil || len(old) != len(data) {
			continue
		}
		for at := 0; at < len(data); at += sectorBytes {
			from := old
			if rng.IntN(2) == 0 {
				from = now
			}
			copy(data[at:min(at+sectorBytes, len(data))], from[at:])
		}
		if flight != nil && flight.name == "wal/"+name {
			tear(data, flight, rng)
		}
	}
	return clone
}

// tear applies some sectors of a write.
func tear(data []byte, op *fileOp, rng *rand.Rand) {
	for at := 0; at < len(op.data); {
		offset := int(op.offset) + at
		n := min(sectorBytes-offset%sectorBytes, len(op.data)-at)
		if rng.IntN(2) == 0 && offset+n <= len(data) {
			copy(data[offset:], op.data[at:at+n])
		}
		at += n
	}
}

// contents returns a file's bytes; changing them changes the file.
func contents(t testing.TB, mem *vfs.MemFS, name string) []byte {
	t.Helper()
	data, err := mem.UnsafeGetFileDataBuffer(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
