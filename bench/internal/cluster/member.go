package cluster

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// logTailBytes is how much of a member's log an error message quotes.
	logTailBytes = 2048
	// freezeTimeout bounds the wait for threads to stop.
	freezeTimeout = 5 * time.Second
)

// Member is one process of a cluster. Its methods are for one goroutine.
type Member struct {
	Name      string
	ClientURL string // http://127.0.0.1:port
	args      []string
	logPath   string

	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has been waited for
	usage  account
}

// start launches the process; the member must not be running.
func (m *Member) start() error {
	logFile, err := os.OpenFile(m.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("start %s: %w", m.Name, err)
	}
	defer logFile.Close()
	cmd := exec.Command(m.args[0], m.args[1:]...)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.Env = withoutEtcdVariables(os.Environ())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL,
		Setpgid:   true, // Ctrl-C is for the benchmark, which then ends its members
	}
	if err := launch(cmd); err != nil {
		return fmt.Errorf("start %s: %w", m.Name, err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(exited)
	}()
	m.cmd, m.exited = cmd, exited
	return nil
}

// running says whether the process has not ended.
func (m *Member) running() bool {
	if m.cmd == nil {
		return false
	}
	select {
	case <-m.exited:
		return false
	default:
		return true
	}
}

// SendKill sends SIGKILL and does not wait: no thread of the process returns to
// its own code after it.
func (m *Member) SendKill() error { return m.signal(syscall.SIGKILL) }

// Thaw lets a frozen process go on.
func (m *Member) Thaw() error { return m.signal(syscall.SIGCONT) }

// Freeze sends SIGSTOP and waits until every thread has stopped. The signal is
// taken by one thread, which then stops the others: on a busy machine they still
// answer requests for milliseconds after the signal was sent.
func (m *Member) Freeze() error {
	if err := m.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for deadline := time.Now().Add(freezeTimeout); time.Now().Before(deadline); {
		stopped, err := allThreadsStopped(m.cmd.Process.Pid)
		if err != nil || stopped {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("freeze %s: threads still run after %v", m.Name, freezeTimeout)
}

func (m *Member) signal(sig syscall.Signal) error {
	if err := m.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("signal %v to %s: %w", sig, m.Name, err)
	}
	return nil
}

// kill ends the process and waits for it. CPU time used so far is kept.
func (m *Member) kill() {
	if m.cmd == nil {
		return
	}
	m.usage.retire(m.cmd.Process.Pid)
	err := m.cmd.Process.Kill()
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		panic(fmt.Sprintf("kill %s: %v", m.Name, err))
	}
	<-m.exited
	m.cmd = nil
}

// logTail returns the end of the member's log for an error message.
func (m *Member) logTail() string {
	file, err := os.Open(m.logPath)
	if err != nil {
		return err.Error()
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Size() > logTailBytes {
		if _, err := file.Seek(-logTailBytes, io.SeekEnd); err != nil {
			return err.Error()
		}
	}
	tail, err := io.ReadAll(io.LimitReader(file, logTailBytes))
	if err != nil {
		return err.Error()
	}
	return string(tail)
}

// memberArgs is the command line of a member: the same flags for every system.
func memberArgs(sys System, name, dir, clientURL, peerURL, initialCluster string) []string {
	return append(append([]string{}, sys.Command...),
		"--name="+name,
		"--data-dir="+filepath.Join(dir, name),
		"--listen-client-urls="+clientURL,
		"--advertise-client-urls="+clientURL,
		"--listen-peer-urls="+peerURL,
		"--initial-advertise-peer-urls="+peerURL,
		"--initial-cluster="+initialCluster,
		"--initial-cluster-state=new",
		"--initial-cluster-token="+filepath.Base(dir),
	)
}

// withoutEtcdVariables drops ETCD_*: they would override etcd's defaults.
func withoutEtcdVariables(environ []string) []string {
	kept := make([]string, 0, len(environ))
	for _, variable := range environ {
		if !strings.HasPrefix(variable, "ETCD_") {
			kept = append(kept, variable)
		}
	}
	return kept
}

type launchRequest struct {
	cmd  *exec.Cmd
	done chan error
}

// startLauncher returns the queue of the goroutine that starts all processes.
//
// PDEATHSIG fires when the *thread* that forked ends, and Go may end a thread
// at any time. So one goroutine holds one thread for the life of the process.
var startLauncher = sync.OnceValue(func() chan launchRequest {
	queue := make(chan launchRequest)
	go func() {
		runtime.LockOSThread()
		for request := range queue {
			request.done <- request.cmd.Start()
		}
	}()
	return queue
})

func launch(cmd *exec.Cmd) error {
	request := launchRequest{cmd: cmd, done: make(chan error, 1)}
	startLauncher() <- request
	return <-request.done
}
