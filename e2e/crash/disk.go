package crash

import (
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// disk returns a directory for data. It is a small file system in memory where one can
// be mounted: there the server makes the segments of its log small, so that a short run
// fills and gives up some of them, and many runs do not wear a disk. SIGKILL takes
// nothing from the kernel's memory, so the medium makes no difference to the test.
func disk(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=320m", "tmpfs", dir).CombinedOutput()
	if err != nil {
		t.Logf("data is on an ordinary disk, the log gives up no segments (cannot mount a small one: %v: %s)", err, out)
		return dir
	}
	t.Cleanup(func() { _ = exec.Command("umount", "-l", dir).Run() })
	return dir
}

// smallDiskBytes is below what makes the server use its ordinary segments.
const smallDiskBytes = 1 << 30

func smallDisk(dir string) bool {
	var s syscall.Statfs_t
	return syscall.Statfs(dir, &s) == nil && s.Blocks*uint64(s.Bsize) < smallDiskBytes
}
