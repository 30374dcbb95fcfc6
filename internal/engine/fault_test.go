package engine

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// Goal: a full disk delays a flush and loses nothing (E6). Method: let every file
// creation and write fail while a flush runs, then let the space come back.
func TestPebbleSurvivesFullDisk(t *testing.T) {
	var full atomic.Bool
	mem := vfs.NewCrashableMem()
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		isTable := strings.HasSuffix(op.Path, ".sst")
		if full.Load() && isTable && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return syscall.ENOSPC
		}
		return nil
	}))
	p, err := OpenPebble(fs, "engine", Options{Fatal: func(err error) { t.Errorf("fatal: %v", err) }})
	must(t, err)
	set(t, p, "k", "v")
	full.Store(true)
	done := make(chan error, 1)
	go func() { done <- p.Flush() }()
	for p.Stats().BackgroundErrors == 0 {
		time.Sleep(time.Millisecond)
	}
	if got := dump(t, p, nil, nil); got != "k=v " {
		t.Fatalf("on a full disk a read shows %q", got)
	}
	if _, ok, _ := p.DurableGet([]byte("k"), nil); ok {
		t.Fatal("the failed flush counts as durable")
	}
	full.Store(false)
	must(t, <-done)
	must(t, p.Close())
	p, err = OpenPebble(mem.CrashClone(vfs.CrashCloneCfg{}), "engine", Options{})
	must(t, err)
	if got := dump(t, p, nil, nil); got != "k=v " {
		t.Fatalf("after the flush and a crash: %q", got)
	}
	must(t, p.Close())
}

// Goal: a second process is told that the directory is in use, and a directory of a
// newer format is left alone.
func TestPebbleRefusals(t *testing.T) {
	dir := t.TempDir()
	p, err := OpenPebble(vfs.Default, dir, Options{})
	must(t, err)
	if _, err := OpenPebble(vfs.Default, dir, Options{}); !errors.Is(err, ErrInUse) {
		t.Fatalf("second open: %v", err)
	}
	must(t, p.Close())
	must(t, os.WriteFile(filepath.Join(dir, formatFile), []byte("quorate engine 2\n"), 0o600))
	for range 2 { // refusing twice shows that the lock was given back
		if _, err := OpenPebble(vfs.Default, dir, Options{}); !errors.Is(err, ErrVersion) {
			t.Fatalf("open of a newer format: %v", err)
		}
	}
}
