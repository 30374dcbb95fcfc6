package badinput

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/e2e/cluster"
)

// Limits on a start that must fail.
const (
	refuseTimeout   = 20 * time.Second // to exit
	sentenceMaxSize = 600              // bytes; longer is not one sentence
)

// refused starts m, which must end by itself with a sentence that matches
// want, and leave everything in its data directory as it was.
func refused(t *testing.T, m *cluster.Member, want string) {
	t.Helper()
	before := snapshot(t, m.DataDir)
	logged := len(logOf(m))
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), refuseTimeout)
	defer cancel()
	code, err := m.WaitExit(ctx)
	printed := logOf(m)[logged:]
	if err != nil {
		m.Kill()
		t.Fatalf("it runs: %v\nprinted: %.2000s", err, printed)
	}
	if code == 0 {
		t.Errorf("exit code 0, printed: %s", printed)
	}
	if cluster.UnderTest() != "quorate" {
		return // etcd has its own words and makes its directory first
	}
	checkSentence(t, printed, want)
	if diff := changed(before, snapshot(t, m.DataDir)); len(diff) > 0 {
		t.Errorf("files changed by a start that failed: %v", diff)
	}
}

// checkSentence looks at what a failed start printed.
func checkSentence(t *testing.T, printed, want string) {
	t.Helper()
	if regexp.MustCompile(`(?m)^(panic:|fatal error:|goroutine \d+ \[)`).MatchString(printed) {
		t.Errorf("printed a stack trace:\n%.3000s", printed)
	}
	lines := strings.Split(strings.TrimSpace(printed), "\n")
	last := lines[len(lines)-1]
	if !regexp.MustCompile(`(?i)` + want).MatchString(last) {
		t.Errorf("the last line printed is\n  %s\nwant a match of\n  %s", last, want)
	}
	if len(last) > sentenceMaxSize {
		t.Errorf("a sentence of %d bytes: %s", len(last), last)
	}
	t.Logf("refused: %s", last)
}

func logOf(m *cluster.Member) string {
	b, err := os.ReadFile(m.LogPath)
	if err != nil {
		return ""
	}
	return string(b)
}

// snapshot returns the content hash of every file below dir.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return nil // an empty directory made on the way is no harm
		}
		if !d.Type().IsRegular() {
			files[path] = d.Type().String()
			return nil
		}
		b, err := os.ReadFile(path)
		files[path] = fmt.Sprintf("%x", sha256.Sum256(b))
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return files
}

// changed lists the files that differ. A lock file may come and go.
func changed(before, after map[string]string) []string {
	var diff []string
	for path, hash := range before {
		if after[path] != hash {
			diff = append(diff, path)
		}
	}
	for path := range after {
		if _, known := before[path]; !known && filepath.Base(path) != "LOCK" {
			diff = append(diff, path)
		}
	}
	slices.Sort(diff)
	return diff
}

// one lays out a single member without starting it.
func one(t *testing.T) *cluster.Member {
	t.Helper()
	return cluster.New(t, cluster.Options{Binary: cluster.ServerUnderTest(t)}).Members[0]
}

// set replaces a flag of m, or adds it.
func set(m *cluster.Member, flag, value string) {
	m.Args = slices.DeleteFunc(m.Args, func(a string) bool { return strings.HasPrefix(a, flag+"=") })
	m.Args = append(m.Args, flag+"="+value)
}

// mustStart starts m and waits until it serves.
func mustStart(t *testing.T, m *cluster.Member) {
	t.Helper()
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	if err := m.WaitReady(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, m.Log())
	}
}

func mustStop(t *testing.T, m *cluster.Member) {
	t.Helper()
	if err := m.Stop(); err != nil {
		t.Fatal(err)
	}
}

// Goal: the file comparison finds changes. Method: change, add, remove.
func TestSnapshot(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("a", "1")
	write("b", "1")
	before := snapshot(t, dir)
	write("LOCK", "")
	if diff := changed(before, snapshot(t, dir)); len(diff) != 0 {
		t.Errorf("a lock file is reported: %v", diff)
	}
	write("a", "2")
	write("c", "1")
	os.Remove(filepath.Join(dir, "b"))
	if diff := changed(before, snapshot(t, dir)); len(diff) != 3 {
		t.Errorf("changed %v, want 3 files", diff)
	}
}
