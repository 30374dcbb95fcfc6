package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
)

// Binary is a server program and the arguments that come before the flags.
type Binary struct {
	Name string   // for messages: "quorate" or "etcd"
	Path string   // absolute path of the executable
	Args []string // e.g. ["serve"]
}

// Quorate returns the quorate binary, built from the repository if needed.
func Quorate(t testing.TB) Binary {
	t.Helper()
	path := *binaryFlag
	if path == "" {
		root := filepath.Join(moduleDir(), "..")
		if _, err := os.Stat(filepath.Join(root, "cmd", "quorate")); err != nil {
			t.Fatalf("no server to test: %v (run with -server etcd to check the tests themselves)", err)
		}
		path = build(t, "quorate", root, "./cmd/quorate")
	}
	return Binary{Name: "quorate", Path: path, Args: []string{"serve"}}
}

// Etcd returns the reference server, built from the version in go.mod.
func Etcd(t testing.TB) Binary {
	t.Helper()
	return Binary{Name: "etcd", Path: build(t, "etcd", moduleDir(), "go.etcd.io/etcd/server/v3")}
}

// Etcdctl returns the path of the reference client, built like Etcd.
func Etcdctl(t testing.TB) string {
	t.Helper()
	return build(t, "etcdctl", moduleDir(), "go.etcd.io/etcd/etcdctl/v3")
}

// ServerUnderTest returns what the -server flag names.
func ServerUnderTest(t testing.TB) Binary {
	t.Helper()
	switch UnderTest() {
	case "quorate":
		return Quorate(t)
	case "etcd":
		return Etcd(t)
	}
	t.Fatalf("-server %q: want quorate or etcd", UnderTest())
	return Binary{}
}

// NeedsQuorate skips a test whose expectations are ours and not etcd's.
func NeedsQuorate(t testing.TB) {
	t.Helper()
	if UnderTest() != "quorate" {
		t.Skip("the wording asserted here is quorate's own")
	}
}

var built struct {
	sync.Mutex
	paths map[string]string
}

// build compiles pkg once per process. The go command itself skips the link
// when the file is current, so later test packages find it ready.
func build(t testing.TB, name, dir, pkg string) string {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	if path, ok := built.paths[name]; ok {
		return path
	}
	bin := filepath.Join(os.TempDir(), fmt.Sprintf("quorate-e2e-%d", os.Getuid()))
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatalf("create %s: %v", bin, err)
	}
	unlock, err := lockFile(filepath.Join(bin, "build.lock"))
	if err != nil {
		t.Fatalf("lock %s: %v", bin, err)
	}
	defer unlock()
	path := filepath.Join(bin, name)
	cmd := exec.Command("go", "build", "-o", path, pkg)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	if built.paths == nil {
		built.paths = make(map[string]string)
	}
	built.paths[name] = path
	return path
}

// moduleDir is the root of the e2e module, found from this source file.
func moduleDir() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(file))
}

func lockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}
