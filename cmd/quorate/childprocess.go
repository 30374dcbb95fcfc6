package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
)

// spawner starts processes, all on one thread: Linux ends a child with the *thread* that
// started it, and Go ends threads as it likes unless a goroutine holds them.
type spawner struct {
	work chan func()
}

func newSpawner() *spawner {
	s := &spawner{work: make(chan func())}
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with this goroutine
		for f := range s.work {
			f()
		}
	}()
	return s
}

// close ends the thread, and with it every child that still runs.
func (s *spawner) close() { close(s.work) }

// childProcess is a process that ends with us in three ways: we ask it to, its standard
// input ends because we are gone, or (on Linux) the kernel kills it because we are gone.
// The last also reaches a child that is stopped.
type childProcess struct {
	cmd     *exec.Cmd
	stdin   io.Closer
	stdout  *bufio.Reader
	logPath string
	log     *os.File
}

// start runs cmd with its standard error in the log file.
func (s *spawner) start(cmd *exec.Cmd, logPath string) (*childProcess, error) {
	log, err := os.OpenFile(logPath, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("its log %s cannot be written: %w", logPath, reason(err))
	}
	cmd.Stderr = log
	cmd.SysProcAttr = endsWithUs()
	stdin, inErr := cmd.StdinPipe()
	stdout, outErr := cmd.StdoutPipe()
	err = errors.Join(inErr, outErr)
	if err == nil {
		done := make(chan error)
		s.work <- func() { done <- cmd.Start() }
		err = <-done
	}
	if err != nil {
		log.Close()
		return nil, err
	}
	return &childProcess{cmd: cmd, stdin: stdin, stdout: bufio.NewReader(stdout), logPath: logPath, log: log}, nil
}

// awaitReady reads what the process prints until it says that it is ready, or ends
// without. It comes before wait, which closes the pipe.
func (p *childProcess) awaitReady() bool {
	for {
		line, err := p.stdout.ReadString('\n')
		if err != nil {
			return false
		}
		if strings.TrimSpace(line) == readyLine {
			return true
		}
	}
}

func (p *childProcess) pid() int { return p.cmd.Process.Pid }

// wait returns when the process is gone. It is called once.
func (p *childProcess) wait() {
	_, _ = io.Copy(io.Discard, p.stdout) // until the process is gone
	_ = p.cmd.Wait()                     // the outcome is in ProcessState
	p.log.Close()
}

// stop asks the process to end. The error is that it has ended already.
func (p *childProcess) stop() { _ = p.cmd.Process.Signal(syscall.SIGTERM) }

// kill ends it, also if it is stopped or stuck.
func (p *childProcess) kill() { _ = p.cmd.Process.Kill() }

// epitaph says how the process ended, and its last words if it had any.
func (p *childProcess) epitaph() string {
	state := p.cmd.ProcessState
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return "ended by signal: " + status.Signal().String()
	}
	how := "exit code " + fmt.Sprint(state.ExitCode())
	if words := lastLine(p.logPath); words != "" {
		how += ": " + strings.TrimPrefix(words, "quorate: ")
	}
	return how
}

// lastLine returns the last line of a file that is not empty.
func lastLine(path string) string {
	const tailBytes = 4096
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > tailBytes {
		_, _ = f.Seek(-tailBytes, io.SeekEnd)
	}
	raw, _ := io.ReadAll(io.LimitReader(f, tailBytes))
	lines := strings.Split(strings.TrimRight(string(raw), "\n"), "\n")
	return lines[len(lines)-1]
}
