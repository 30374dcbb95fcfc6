//go:build linux && (amd64 || arm64)

package crash

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What the kernel reports: every system call with a mark of its own, every new thread
// and process. What it does: kill the process when the tracer's thread ends, however
// that happens.
const traceOptions = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEFORK |
	unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_EXITKILL

// sysgood is what PTRACE_O_TRACESYSGOOD adds to SIGTRAP when it reports a system call.
const sysgood = 0x80

// pathBytes bounds a path that is read from the process.
const pathBytes = 4096

// syscallInfo is the kernel's struct ptrace_syscall_info at the entry of a call.
type syscallInfo struct {
	op     uint8
	_      [3]uint8
	arch   uint32
	ip, sp uint64
	number uint64
	args   [6]uint64
	_      uint64
}

// syscallEntry is PTRACE_SYSCALL_INFO_ENTRY.
const syscallEntry = 1

// Launch starts cmd and returns the function that waits for its end.
func (t *Tracer) Launch(cmd *exec.Cmd) (wait func() error, err error) {
	started := make(chan error, 1)
	go t.run(cmd, started)
	if err := <-started; err != nil {
		return nil, err
	}
	return t.Ending, nil
}

// run is the tracer's only goroutine. The kernel ties tracing to a thread, so the
// goroutine keeps its thread and takes it along when it ends.
func (t *Tracer) run(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer close(t.ended)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Ptrace: true}
	if err := cmd.Start(); err != nil {
		t.err = explain(err)
		started <- t.err
		return
	}
	pid := cmd.Process.Pid
	err := release(pid)
	started <- err
	if err == nil {
		err = t.follow(pid)
	}
	if err != nil {
		t.err = err
		t.killProcess(pid)
		t.reap(pid)
	}
}

// release waits for the stop that follows the exec and lets the process go.
func release(pid int) error {
	var status unix.WaitStatus
	if _, err := wait(pid, &status); err != nil {
		return explain(err)
	}
	if !status.Stopped() {
		return fmt.Errorf("trace: the process ended before it began: %v", status)
	}
	if err := unix.PtraceSetOptions(pid, traceOptions); err != nil {
		return explain(err)
	}
	return explain(unix.PtraceSyscall(pid, 0))
}

// wait waits for a child of this thread alone: children of other threads belong to
// whoever started them.
func wait(pid int, status *unix.WaitStatus) (int, error) {
	for {
		tid, err := unix.Wait4(pid, status, unix.WALL|unix.WNOTHREAD, nil)
		if !errors.Is(err, unix.EINTR) {
			return tid, err
		}
	}
}

// follow handles every stop of every thread until the process is gone.
func (t *Tracer) follow(pid int) error {
	known := map[int]bool{pid: true} // threads that have had their first stop
	for {
		var status unix.WaitStatus
		tid, err := wait(-1, &status)
		if err != nil {
			return fmt.Errorf("trace: wait: %w", err)
		}
		signal := 0
		switch {
		case status.Exited() || status.Signaled():
			if tid == pid {
				t.status = syscall.WaitStatus(status)
				return nil
			}
			delete(known, tid)
			continue
		case status.StopSignal() == unix.SIGTRAP|sysgood:
			if err := t.stopped(pid, tid); err != nil {
				return err
			}
		case status.TrapCause() > 0: // a new thread or process; its own stop follows
		case status.StopSignal() == unix.SIGSTOP && !known[tid]:
			known[tid] = true
		default:
			signal = int(status.StopSignal())
		}
		if t.killed {
			continue // it never runs again
		}
		if err := unix.PtraceSyscall(tid, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("trace: resume: %w", err)
		}
	}
}

// stopped is called when a thread enters or leaves a system call. A process that gets
// SIGKILL while a thread stands at the entry does not carry the call out.
func (t *Tracer) stopped(pid, tid int) error {
	if t.killed {
		return nil
	}
	var info syscallInfo
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid), unsafe.Sizeof(info),
		uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno == unix.ESRCH {
		return nil // somebody else killed it
	}
	if errno != 0 {
		return fmt.Errorf("trace: this kernel does not tell system calls (Linux 5.3 does): %w", errno)
	}
	if info.op != syscallEntry {
		return nil
	}
	op, ok := t.operation(tid, &info)
	if !ok {
		return nil
	}
	t.ops = append(t.ops, op)
	if len(t.ops) == t.killAt {
		t.killed = true
		t.killProcess(pid)
	}
	return nil
}

// killProcess needs no thread to be stopped.
func (t *Tracer) killProcess(pid int) { _ = unix.Kill(pid, unix.SIGKILL) }

// reap waits for a killed process, so that no zombie is left of it.
func (t *Tracer) reap(pid int) {
	var status unix.WaitStatus
	for {
		tid, err := wait(-1, &status)
		if err != nil || tid == pid && !status.Stopped() {
			return
		}
	}
}

// operation reports whether a system call is one that counts.
func (t *Tracer) operation(tid int, info *syscallInfo) (Operation, bool) {
	c, ok := calls[info.number]
	if !ok {
		return Operation{}, false
	}
	if c.flags != 0 && info.args[c.flags]&(unix.O_CREAT|unix.O_TRUNC) == 0 {
		return Operation{}, false
	}
	if c.paths == nil {
		path, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tid, int32(info.args[c.fd])))
		rel, below := t.below(path)
		return Operation{c.name, rel}, err == nil && below
	}
	var names []string
	counts := false
	for _, p := range c.paths {
		name, below := t.below(resolve(tid, p, info))
		names = append(names, name)
		counts = counts || below
	}
	return Operation{c.name, strings.Join(names, " ")}, counts
}

// below returns a path relative to the directory, and whether it is there at all.
func (t *Tracer) below(path string) (string, bool) {
	if path == t.dir {
		return ".", true
	}
	rel, ok := strings.CutPrefix(path, t.dir+"/")
	if !ok {
		return path, false
	}
	return rel, true
}

// resolve makes a path of the process absolute.
func resolve(tid int, p pathArg, info *syscallInfo) string {
	path := readString(tid, uintptr(info.args[p.path]))
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	base := fmt.Sprintf("/proc/%d/cwd", tid)
	if p.dir != cwd && int32(info.args[p.dir]) != unix.AT_FDCWD {
		base = fmt.Sprintf("/proc/%d/fd/%d", tid, int32(info.args[p.dir]))
	}
	dir, err := os.Readlink(base)
	if err != nil {
		return path
	}
	return filepath.Join(dir, path)
}

// readString reads a string from the process, up to its zero.
func readString(tid int, at uintptr) string {
	var text []byte
	var word [8]byte
	for len(text) < pathBytes {
		n, err := unix.PtracePeekData(tid, at+uintptr(len(text)), word[:])
		for _, c := range word[:n] {
			if c == 0 {
				return string(text)
			}
			text = append(text, c)
		}
		if err != nil || n == 0 {
			break
		}
	}
	return string(text)
}
