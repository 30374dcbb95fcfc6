package cluster

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
)

// Built returns the server to measure: path if that is not empty, else one built into dir from the checkout
// that this module lies in. The working directory is a folder of the module's root.
func Built(ctx context.Context, path, dir string) (string, error) {
	if path != "" {
		return path, nil
	}
	binary := filepath.Join(dir, "quorate")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/quorate")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build ../cmd/quorate (run from bench/, or give -ours): %w\n%s", err, out)
	}
	return binary, nil
}
