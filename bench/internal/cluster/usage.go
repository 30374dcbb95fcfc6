package cluster

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU time in /proc: USER_HZ is 100 on every Linux port
// that Go supports.
const tick = 10 * time.Millisecond

// account adds up the CPU time of a member over its restarts (C3).
type account struct {
	before time.Duration // of processes that have ended
}

func (a *account) retire(pid int) {
	used, err := cpuTime(pid)
	if err == nil { // a process that died by itself takes its time with it
		a.before += used
	}
}

func (a *account) total(pid int) (time.Duration, error) {
	used, err := cpuTime(pid)
	return a.before + used, err
}

// cpuTime is user plus system time of all threads of a process.
func cpuTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("cpu time of process %d: %w", pid, err)
	}
	return parseCPUTime(stat)
}

// parseCPUTime reads fields 14 and 15 of proc(5) stat. Field 2, the command in
// parentheses, may hold spaces, so fields are counted from the last ')'.
func parseCPUTime(stat []byte) (time.Duration, error) {
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("cpu time: %d fields after the command in %q", len(fields), stat)
	}
	user, errUser := strconv.ParseInt(fields[11], 10, 64)
	system, errSystem := strconv.ParseInt(fields[12], 10, 64)
	if errUser != nil || errSystem != nil {
		return 0, fmt.Errorf("cpu time: user %q system %q are not numbers", fields[11], fields[12])
	}
	return time.Duration(user+system) * tick, nil
}

// allThreadsStopped says whether every thread is in state T, which is field 3
// of its stat.
func allThreadsStopped(pid int) (bool, error) {
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		return false, fmt.Errorf("threads of process %d: %w", pid, err)
	}
	if len(paths) == 0 {
		return false, fmt.Errorf("threads of process %d: it has ended", pid)
	}
	for _, path := range paths {
		stat, err := os.ReadFile(path)
		if err != nil {
			return false, fmt.Errorf("threads of process %d: %w", pid, err)
		}
		if !bytes.HasPrefix(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" T ")) {
			return false, nil
		}
	}
	return true, nil
}

// Memory is what the kernel holds in RAM for a set of processes.
type Memory struct {
	ResidentBytes  int64 // all pages, mapped files included
	AnonymousBytes int64 // heap and stacks: what cannot be dropped under pressure
}

func memoryOf(pid int) (Memory, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Memory{}, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	return parseMemory(string(status))
}

func parseMemory(status string) (Memory, error) {
	var mem Memory
	found := 0
	for line := range strings.Lines(status) {
		name, rest, _ := strings.Cut(line, ":")
		var field *int64
		switch name {
		case "VmRSS":
			field = &mem.ResidentBytes
		case "RssAnon":
			field = &mem.AnonymousBytes
		default:
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err != nil {
			return Memory{}, fmt.Errorf("memory: %q: %w", line, err)
		}
		*field = kib * 1024
		found++
	}
	if found != 2 {
		return Memory{}, fmt.Errorf("memory: found %d of VmRSS and RssAnon", found)
	}
	return mem, nil
}
