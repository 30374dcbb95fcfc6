//go:build !linux || (!amd64 && !arm64)

package crash

import (
	"fmt"
	"os/exec"
	"runtime"
)

// Launch cannot work here.
func (t *Tracer) Launch(*exec.Cmd) (func() error, error) {
	return nil, fmt.Errorf("killing at a file operation needs ptrace of Linux on amd64 or arm64, not %s on %s: leave this package out", runtime.GOOS, runtime.GOARCH)
}
