package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// Ports are drawn below 32768, where Linux's ephemeral range starts.
const (
	portLow  = 12000
	portHigh = 32000
)

// errPortTaken is returned by reserve for a port that somebody holds or listens on.
var errPortTaken = errors.New("port is taken")

// held keeps the locked files of this process's ports: a file that nothing refers to
// would be closed, and its lock with it.
var held struct {
	sync.Mutex
	files []*os.File
}

// FreePort returns a port of 127.0.0.1 that nobody listens on and that no test process
// on this machine has been handed out and may still use.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := portLow + rand.IntN(portHigh-portLow)
		switch err := reserve(port); {
		case err == nil:
			return port
		case !errors.Is(err, errPortTaken):
			t.Fatal(err)
		}
	}
	t.Fatalf("no free port in [%d, %d)", portLow, portHigh)
	return 0
}

// reserve takes a port for the rest of this process's life. To listen on it and to close
// it again shows only that it was free: test packages run side by side, and another one
// may draw it before our server opens it, or while our server is down. A locked file per
// port tells them apart; the kernel gives it back however the process ends.
func reserve(port int) error {
	dir := filepath.Join(os.TempDir(), "quorate-ports")
	if err := shareDir(dir); err != nil {
		return err
	}
	f, err := openShared(filepath.Join(dir, strconv.Itoa(port)))
	if err != nil {
		return fmt.Errorf("reserve port %d: %w: remove %s if it is in the way", port, err, dir)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return fmt.Errorf("port %d: %w: %w", port, errPortTaken, err)
	}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		f.Close()
		return fmt.Errorf("port %d: %w: %w", port, errPortTaken, err)
	}
	l.Close()
	held.Lock()
	defer held.Unlock()
	held.files = append(held.files, f)
	return nil
}

// shareDir makes a folder in which every user of the machine can make files.
func shareDir(dir string) error {
	err := os.Mkdir(dir, 0o777)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil {
		err = os.Chmod(dir, 0o777|fs.ModeSticky) // the umask does not count here
	}
	if err != nil {
		return fmt.Errorf("make a folder for reserved ports: %w", err)
	}
	return nil
}

// openShared opens a file to lock it, and makes it if it is missing. One that is there may
// be another user's: to read it is enough for a lock.
func openShared(path string) (*os.File, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o644)
	}
	return f, err
}
