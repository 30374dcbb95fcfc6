//go:build linux && (amd64 || arm64)

package crash

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/quorate/quorate/e2e/cluster"
)

// A deed is one counted operation of the traced child, with what must not count
// around it.
type deed struct {
	want Operation
	do   func(dir string) error
}

// deeds change files in many ways, some of them on a thread of their own.
var deeds = []deed{
	{Operation{"mkdirat", "d"}, func(dir string) error { return os.Mkdir(dir+"/d", 0o755) }},
	{Operation{"openat", "d/a"}, func(dir string) error {
		if _, err := os.ReadDir(dir); err != nil { // opens, too, but changes nothing
			return err
		}
		fd, err := unix.Open(dir+"/d/a", unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o644)
		keptFile = fd
		return err
	}},
	{Operation{"write", "d/a"}, func(dir string) error { _, err := unix.Write(keptFile, []byte("one ")); return err }},
	{Operation{"fsync", "d/a"}, func(dir string) error {
		return onThread(func() error { return unix.Fsync(keptFile) })
	}},
	{Operation{"pwrite64", "d/a"}, func(dir string) error {
		if err := os.WriteFile(filepath.Dir(dir)+"/outside", []byte("x"), 0o644); err != nil {
			return err
		}
		return onThread(func() error { _, err := unix.Pwrite(keptFile, []byte("two"), 4); return err })
	}},
	{Operation{"fdatasync", "d/a"}, func(dir string) error { return unix.Fdatasync(keptFile) }},
	{Operation{"ftruncate", "d/a"}, func(dir string) error { return unix.Ftruncate(keptFile, 5) }},
	{Operation{"renameat", "d/a d/b"}, func(dir string) error { return os.Rename(dir+"/d/a", dir+"/d/b") }},
	{Operation{"fsync", "d"}, func(dir string) error {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		defer r.Close()
		defer w.Close()
		if _, err := w.WriteString("a pipe is no file"); err != nil {
			return err
		}
		f, err := os.Open(dir + "/d")
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Sync()
	}},
	{Operation{"openat", "d/c"}, func(dir string) error {
		fd, err := unix.Open(dir+"/d", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		_, err = unix.Openat(fd, "c", unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o644)
		return err
	}},
	{Operation{"linkat", "d/c d/e"}, func(dir string) error { return os.Link(dir+"/d/c", dir+"/d/e") }},
	{Operation{"unlinkat", "d/c"}, func(dir string) error { return os.Remove(dir + "/d/c") }},
}

var keptFile int

// onThread runs f on a thread that nothing else uses, and ends that thread.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}

const childVariable = "E2E_CRASH_CHILD"

// TestTracedChild is the program of TestTracerKillsBeforeTheOperation.
func TestTracedChild(t *testing.T) {
	dir := os.Getenv(childVariable)
	if dir == "" {
		t.Skip("a program for other tests")
	}
	for _, d := range deeds {
		if err := d.do(dir); err != nil {
			t.Fatalf("%v: %v", d.want, err)
		}
	}
}

// Goal: the process is gone before the Nth operation and after all earlier ones,
// whichever thread does them, and nothing else counts (I1). Method: a child with known
// operations is killed at each of them; the directory must look like after the
// operations before it.
func TestTracerKillsBeforeTheOperation(t *testing.T) {
	want := make([]Operation, len(deeds))
	for i := range deeds {
		want[i] = deeds[i].want
	}
	for n := 1; n <= len(deeds)+1; n++ {
		tracer, dir := traceChild(t, n)
		if err := tracer.Err(); err != nil {
			t.Fatal(err)
		}
		if got := tracer.Operations(); !slices.Equal(got, want[:min(n, len(want))]) {
			t.Fatalf("killed at %d: operations %v, want %v", n, got, want[:min(n, len(want))])
		}
		op, killed := tracer.Killed()
		if killed != (n <= len(deeds)) || killed && op != want[n-1] {
			t.Errorf("killed at %d: killed %v before %v", n, killed, op)
		}
		if ending := tracer.Ending(); (ending == nil) == killed {
			t.Errorf("killed at %d: the process ended with %v", n, ending)
		}
		expected := realDir(t)
		for _, d := range deeds[:n-1] {
			if err := d.do(expected); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := describeDir(t, dir), describeDir(t, expected); got != want {
			t.Errorf("killed at %d: found %q, want %q", n, got, want)
		}
	}
}

// traceChild runs TestTracedChild to its end.
func traceChild(t *testing.T, killAt int) (*Tracer, string) {
	t.Helper()
	dir := realDir(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestTracedChild$")
	cmd.Env = append(os.Environ(), childVariable+"="+dir)
	tracer := NewTracer(dir, killAt)
	if _, err := tracer.Launch(cmd); err != nil {
		t.Fatal(err)
	}
	return tracer, dir
}

// realDir is a directory within a temporary one, without symbolic links.
func realDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err == nil {
		dir += "/data"
		err = os.Mkdir(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// describeDir prints every file with its content.
func describeDir(t *testing.T, dir string) string {
	t.Helper()
	var text strings.Builder
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			fmt.Fprintf(&text, "%s/ ", path)
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, path))
		fmt.Fprintf(&text, "%s=%s ", path, content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// Goal: waiting for a traced process does not take away the end of another child (I1).
// Method: children that are started elsewhere end while one is traced.
func TestTracerLeavesOthersAlone(t *testing.T) {
	for range 5 {
		other := exec.Command("true")
		if err := cluster.StartProcess(other); err != nil {
			t.Fatal(err)
		}
		traceChild(t, 0)
		if err := other.Wait(); err != nil {
			t.Fatalf("the other child: %v", err)
		}
	}
}
