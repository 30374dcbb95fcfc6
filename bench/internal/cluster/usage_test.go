package cluster

import (
	"os"
	"testing"
	"time"
)

// TestParseCPUTime has a command with spaces and parentheses in field 2.
func TestParseCPUTime(t *testing.T) {
	stat := "42 (a b) c) S 1 42 42 0 -1 4194304 100 0 0 0 150 25 7 8 20 0 9 0"
	got, err := parseCPUTime([]byte(stat))
	if want := 1750 * time.Millisecond; err != nil || got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if _, err := parseCPUTime([]byte("42 (a) S 1")); err == nil {
		t.Error("a short line was accepted")
	}
}

func TestParseMemory(t *testing.T) {
	got, err := parseMemory("Name:\tetcd\nVmRSS:\t    2048 kB\nRssAnon:\t    1024 kB\n")
	if want := (Memory{ResidentBytes: 2 << 20, AnonymousBytes: 1 << 20}); err != nil || got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if _, err := parseMemory("VmRSS:\t 1 kB\n"); err == nil {
		t.Error("a status without RssAnon was accepted")
	}
}

// TestOwnUsage reads a process that certainly exists: this one.
func TestOwnUsage(t *testing.T) {
	if _, err := cpuTime(os.Getpid()); err != nil {
		t.Error(err)
	}
	mem, err := memoryOf(os.Getpid())
	if err != nil || mem.AnonymousBytes <= 0 || mem.ResidentBytes < mem.AnonymousBytes {
		t.Errorf("memory %+v, %v", mem, err)
	}
}
