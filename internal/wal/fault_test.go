package wal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/env"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
)

var errDisk = errors.New("input/output error")

// Goal: a disk that cannot take a new segment, for another reason than its size, ends
// the log: waiting for space would wait for ever. Method: fail every operation on
// a segment that is being made.
func TestAllocationErrorIsFinal(t *testing.T) {
	armed := false
	fs := &faultFS{FS: vfs.NewMem(), before: func(op *fileOp) error {
		if armed && op.mutates() && strings.HasSuffix(op.name, ".tmp") {
			return errDisk
		}
		return nil
	}}
	l, err := openTiny(fs)
	if err != nil {
		t.Fatal(err)
	}
	armed = true
	var b Batch
	for i := consensus.Index(1); i <= 100 && err == nil; i++ {
		b.Append(1, []Entry{command(i, 1, strings.Repeat("x", 3000))})
		err = errors.Join(l.Write(&b), l.Sync())
		b.Reset()
	}
	if !errors.Is(err, ErrFailed) || !errors.Is(err, errDisk) || errors.Is(err, ErrFull) {
		t.Fatalf("an allocation that fails: %v", err)
	}
}

// Goal: after a failed sync nothing is ever acknowledged again, also when the disk
// says that it is well (fsyncgate). Method: fail sync k, for the first ten k.
func TestSyncErrorIsFinal(t *testing.T) {
	for k := range 10 {
		mem := vfs.NewMem()
		syncs, armed := 0, false
		fs := &faultFS{FS: mem, before: func(op *fileOp) error {
			if op.kind == "syncdata" && armed {
				if syncs++; syncs == k+1 {
					return errDisk
				}
			}
			return nil
		}}
		l, err := openTiny(fs)
		if err != nil {
			t.Fatal(err)
		}
		armed = true
		var b Batch
		failed := false
		for i := consensus.Index(1); i <= 30 && !failed; i++ {
			b.Append(1, []Entry{command(i, 1, strings.Repeat("x", 3000))})
			err := l.Write(&b)
			if err == nil {
				err = l.Sync()
			}
			b.Reset()
			failed = err != nil
			if failed && (!errors.Is(err, ErrFailed) || !errors.Is(err, errDisk)) {
				t.Fatal(err)
			}
		}
		if !failed {
			t.Fatalf("sync %d did not fail", k)
		}
		b.HardState(1, consensus.HardState{Epoch: 1})
		if err := l.Write(&b); !errors.Is(err, ErrFailed) {
			t.Fatalf("write after a failed sync: %v", err)
		}
		if err := l.Sync(); !errors.Is(err, ErrFailed) {
			t.Fatalf("sync after a failed sync: %v", err)
		}
		if err := l.Close(); !errors.Is(err, ErrFailed) {
			t.Fatalf("close after a failed sync: %v", err)
		}
	}
}

// Goal: a failed write is final too. Method: EIO on the third batch.
func TestWriteErrorIsFinal(t *testing.T) {
	writes := 0
	fs := &faultFS{FS: vfs.NewMem(), before: func(op *fileOp) error {
		if op.kind == "write" && op.offset >= segmentDataStart && len(op.data) < 1000 {
			if writes++; writes == 3 {
				return errDisk
			}
		}
		return nil
	}}
	l, err := openTiny(fs)
	if err != nil {
		t.Fatal(err)
	}
	var b Batch
	for i := consensus.Index(1); i < 3; i++ {
		b.Append(1, []Entry{command(i, 1, "x")})
		mustWrite(t, l, &b)
	}
	b.Append(1, []Entry{command(3, 1, "x")})
	for range 2 {
		if err := l.Write(&b); !errors.Is(err, ErrFailed) {
			t.Fatal(err)
		}
	}
}

// Goal: want of file descriptors is waited for like want of space. Method: refuse to open
// files until a batch is refused, then take it.
func TestNoFileDescriptors(t *testing.T) {
	armed := false
	fs := &faultFS{FS: vfs.NewMem(), before: func(op *fileOp) error {
		if armed && op.kind == "openrw" {
			return syscall.EMFILE
		}
		return nil
	}}
	l, err := openTiny(fs)
	if err != nil {
		t.Fatal(err)
	}
	armed = true
	var b Batch
	for i := consensus.Index(1); err == nil; i++ {
		b.Reset()
		b.Append(1, []Entry{command(i, 1, strings.Repeat("x", 3000))})
		err = l.Write(&b)
	}
	if !errors.Is(err, ErrFull) || !errors.Is(err, syscall.EMFILE) {
		t.Fatal(err)
	}
	armed = false
	mustWrite(t, l, &b)
}

// Goal: a full disk tears nothing, refuses what cannot be taken with ErrFull, still
// takes releases, and everything works again once there is space. Method: run a
// workload in which the disk is full from operation k on, for every k, until space
// returns; compare with the model, which changes only when Write succeeds. A disk may
// refuse only what needs new blocks, or, if it copies on write, every write.
func TestDiskFullAtEveryOperation(t *testing.T) {
	for _, copies := range []bool{false, true} {
		refused, total := 0, 1
		for k := 0; k < total; k++ {
			ops, full := 0, false
			fs := &faultFS{FS: vfs.NewMem()}
			fs.before = func(op *fileOp) error {
				switch op.kind {
				case "write":
					if !copies && !strings.HasSuffix(op.name, tempSuffix) {
						return nil
					}
					fallthrough
				case "openrw", "prealloc", "rename", "mkdir":
					if ops++; full && ops > k {
						return fmt.Errorf("%s %s: %w", op.kind, op.name, syscall.ENOSPC)
					}
				}
				return nil
			}
			refused += fillDisk(t, fs, k, &full)
			total = max(total, ops/2)
		}
		t.Logf("full at each of %d operations, %d batches refused", total, refused)
		if refused < 100 {
			t.Errorf("only %d batches were refused", refused)
		}
	}
}

// fillDisk runs one workload and returns how many batches were refused.
func fillDisk(t *testing.T, fs env.FS, k int, full *bool) (refused int) {
	*full = true
	l, err := openTiny(fs)
	if errors.Is(err, ErrFull) || errors.Is(err, syscall.ENOSPC) {
		*full = false
		l, err = openTiny(fs) // the next start succeeds
		*full = true
	}
	if err != nil {
		t.Fatal(err)
	}
	w := newWorkload(uint64(k))
	var b Batch
	for i := range 60 {
		*full = i < 40
		before := w.model.clone()
		b.Reset()
		if w.draw(&b); b.Empty() {
			continue
		}
		if err := l.Write(&b); err != nil {
			if !errors.Is(err, ErrFull) || !*full {
				t.Fatalf("full from operation %d, batch %d: %v", k, i, err)
			}
			refused++
			w.model = refuse(t, l, before, w.model)
		}
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(w.model.String(), describeLog(t, l)); diff != "" {
		t.Fatalf("full from operation %d: model and log differ:\n%s", k, diff)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = openTiny(fs); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(w.model.String(), describeLog(t, l)); diff != "" {
		t.Fatalf("full from operation %d: model and reopened log differ:\n%s", k, diff)
	}
	return refused
}

// refuse is the model after a batch was refused: as before, except that its releases
// may have been taken.
func refuse(t *testing.T, l *Log, before, after model) model {
	t.Helper()
	for id, g := range before {
		st, err := l.State(id)
		if err != nil {
			t.Fatal(err)
		}
		if st.Released == g.released {
			continue
		}
		if st.Released != after[id].released {
			t.Fatalf("group %d was released up to %d, which nobody asked for", id, st.Released)
		}
		before.release(id, st.Released, st.ReleasedEpoch)
	}
	return before
}

// Goal: releases free a full disk by themselves, also those that wait behind a refused
// batch. Method: a disk that can hold four files; fill the log, see it refuse, release,
// see it take again.
func TestReleasesMakeRoom(t *testing.T) {
	files := 0
	fs := &faultFS{FS: vfs.NewMem()}
	fs.before = func(op *fileOp) error {
		switch op.kind {
		case "prealloc":
			if files == 4 {
				return syscall.ENOSPC
			}
			files++
		case "remove":
			if !strings.HasSuffix(op.name, tempSuffix) {
				files--
			}
		}
		return nil
	}
	l, err := openTiny(fs)
	if err != nil {
		t.Fatal(err)
	}
	var refused, waiting Batch
	next := consensus.Index(1)
	for round := range 20 {
		for {
			refused.Reset()
			refused.Append(1, []Entry{command(next, 1, strings.Repeat("x", 2000))})
			err := l.Write(&refused)
			if errors.Is(err, ErrFull) {
				break
			}
			if err != nil || l.Sync() != nil {
				t.Fatal(err)
			}
			next++
		}
		for range 50 { // refusing again and again does not use up the reserve
			if err := l.Write(&refused); !errors.Is(err, ErrFull) {
				t.Fatal(err)
			}
		}
		waiting.Release(1, next-3, 1)
		if err := l.Relieve(&refused, &waiting); err != nil {
			t.Fatal(err)
		}
		if err := l.Write(&refused); err != nil {
			t.Fatalf("round %d: still full after releases: %v, %+v", round, err, l.Stats())
		}
		mustWrite(t, l, &waiting)
		if got, err := l.Read(1, consensus.Span{Lo: next - 2, Hi: next + 1}, 1<<20, nil); err != nil || len(got) != 3 {
			t.Fatalf("round %d: %d entries, %v", round, len(got), err)
		}
		if next++; next < 20 {
			t.Fatalf("round %d: full at %d", round, next)
		}
	}
}

// Goal: a release is not taken ahead of a waiting batch that writes what it releases.
// Method: an entry is replaced in a batch that waits, and released in the next.
func TestRelieveKeepsOrder(t *testing.T) {
	l, err := openTiny(vfs.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	var b, first, second Batch
	b.Append(1, []Entry{command(1, 1, "a"), command(2, 1, "b"), command(3, 1, "c")})
	mustWrite(t, l, &b)
	first.Truncate(1, 2)
	first.Append(1, []Entry{command(2, 2, "B"), command(3, 2, "C")})
	second.Release(1, 2, 2)
	if err := l.Relieve(&first, &second); err != nil {
		t.Fatal(err)
	}
	if st, err := l.State(1); err != nil || st.Released != 0 {
		t.Fatalf("%+v, %v", st, err)
	}
	mustWrite(t, l, &first)
	if err := l.Relieve(&second); err != nil {
		t.Fatal(err)
	}
	if st, err := l.State(1); err != nil || st.Released != 2 || st.ReleasedEpoch != 2 || len(st.Entries) != 1 {
		t.Fatalf("%+v, %v", st, err)
	}
}

// Goal: a disk that cannot read is not taken for a torn end. Method: EIO on a block of
// the last batch, and of one in the middle.
func TestReadErrorWhileOpening(t *testing.T) {
	mem := rotten(t, 60)
	all := batchesOf(t, mem)
	for _, k := range []int{len(all) - 1, len(all) / 2} {
		bad := all[k].offset / readBlock * readBlock
		fs := &faultFS{FS: mem, before: blockFault(all[k].name, bad)}
		l, err := openTiny(fs)
		if k == len(all)-1 {
			if !errors.Is(err, errDisk) {
				t.Fatalf("unreadable end: %v", err)
			}
			continue
		}
		if err != nil || l.Stats().LostBatches == 0 {
			t.Fatalf("unreadable middle: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	l, err := openTiny(mem) // nothing was harmed
	if err != nil || l.Stats().LostBatches != 0 || l.number < batchNumber(len(all)) {
		t.Fatalf("%v %+v", err, l.Stats())
	}
}

// blockFault fails the reads of a file that touch one block.
func blockFault(name string, bad int64) func(*fileOp) error {
	return func(op *fileOp) error {
		if op.kind == "read" && op.name == name && op.offset <= bad && op.offset+int64(len(op.data)) > bad {
			return errDisk
		}
		return nil
	}
}

// Goal: a read that fails while the log runs is an error of that read only.
func TestReadErrorWhileRunning(t *testing.T) {
	fail := false
	fs := &faultFS{FS: vfs.NewMem(), before: func(op *fileOp) error {
		if fail && op.kind == "read" {
			return errDisk
		}
		return nil
	}}
	l, err := openTiny(fs)
	if err != nil {
		t.Fatal(err)
	}
	var b Batch
	b.Append(1, []Entry{command(1, 1, "x")})
	mustWrite(t, l, &b)
	fail = true
	if _, err := l.Read(1, consensus.Span{Lo: 1, Hi: 2}, 0, nil); !errors.Is(err, ErrFaulty) || !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	fail = false
	if got, err := l.Read(1, consensus.Span{Lo: 1, Hi: 2}, 0, nil); err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
}

// Goal: damage found by a running log is reported, remembered and moved along as what
// it is. Method: damage an entry behind the log's back, read it, then write until its
// segment is reclaimed, reopen.
func TestDamageFoundWhileRunning(t *testing.T) {
	for _, read := range []bool{true, false} {
		mem := vfs.NewMem()
		l, err := openTiny(mem)
		if err != nil {
			t.Fatal(err)
		}
		var b Batch
		b.Append(1, []Entry{command(1, 1, "aaaa"), command(2, 1, "bbbb")})
		mustWrite(t, l, &b)
		data := contents(t, mem, l.active().name)
		data[bytes.Index(data, []byte("bbbb"))] = 'B'
		if read {
			got, err := l.Read(1, consensus.Span{Lo: 1, Hi: 3}, 1<<20, nil)
			if err != nil || len(got) != 1 {
				t.Fatalf("%v, %v", got, err)
			}
			if _, err = l.Read(1, consensus.Span{Lo: 2, Hi: 3}, 1<<20, nil); !errors.Is(err, ErrFaulty) {
				t.Fatal(err)
			}
		}
		for i := consensus.Index(1); i < 80; i++ {
			b.Append(2, []Entry{command(i, 1, strings.Repeat("x", 3000))})
			b.Release(2, i, 1)
			mustWrite(t, l, &b)
		}
		for range 2 {
			st, err := l.State(1)
			if err != nil || fmt.Sprint(st.Faulty) != "[[2,3)]" || st.Entries[1].Epoch != 1 || st.Entries[1].Size != 4 || st.Suspect {
				t.Fatalf("%+v, %v", st, err)
			}
			if got, err := l.Read(1, consensus.Span{Lo: 1, Hi: 3}, 1<<20, nil); err != nil || string(got[0].Data) != "aaaa" {
				t.Fatalf("%v, %v", got, err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if l, err = openTiny(mem); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// shortFS returns at most seven bytes at a time.
type shortFS struct{ env.FS }

type shortFile struct{ env.File }

func (f shortFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (env.File, error) {
	file, err := f.FS.OpenReadWrite(name, c, opts...)
	return shortFile{file}, err
}

func (f shortFile) ReadAt(b []byte, offset int64) (int, error) {
	if len(b) > 7 {
		n, err := f.File.ReadAt(b[:7], offset)
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return n, err
	}
	return f.File.ReadAt(b, offset)
}

// Goal: a disk that returns too little is an error, not a shorter log.
func TestShortReads(t *testing.T) {
	mem := rotten(t, 2)
	if _, err := openTiny(shortFS{mem}); err == nil {
		t.Fatal("opened over short reads")
	}
	if l, err := openTiny(mem); err != nil || l.number != 6 {
		t.Fatal(err)
	}
}
