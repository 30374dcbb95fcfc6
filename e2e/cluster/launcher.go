package cluster

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// The kernel sends the parent-death signal when the *thread* that forked the
// child ends, not the process. All children are therefore started by one
// goroutine that keeps its thread for ever.
var launcher struct {
	once     sync.Once
	requests chan launch
}

type launch struct {
	cmd    *exec.Cmd
	result chan error
}

// StartProcess starts cmd in a process group of its own that dies with this
// process (keeps I1).
func StartProcess(cmd *exec.Cmd) error {
	launcher.once.Do(func() {
		launcher.requests = make(chan launch)
		go func() {
			runtime.LockOSThread()
			for l := range launcher.requests {
				l.result <- l.cmd.Start()
			}
		}()
	})
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	l := launch{cmd: cmd, result: make(chan error, 1)}
	launcher.requests <- l
	return <-l.result
}

// signalGroup sends sig to the process group of cmd.
func signalGroup(cmd *exec.Cmd, sig syscall.Signal) error {
	return syscall.Kill(-cmd.Process.Pid, sig)
}
