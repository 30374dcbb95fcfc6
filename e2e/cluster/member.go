package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Limits of process handling. They bound a hanging server, not a slow one.
const (
	readyTimeout = 30 * time.Second       // start to /readyz
	stopTimeout  = 20 * time.Second       // SIGTERM to exit
	pollInterval = 20 * time.Millisecond  // between two looks at a process
	probeTimeout = 500 * time.Millisecond // one readiness probe
)

// Member is one server process, running or not. Its directory, ports and
// arguments stay the same over restarts.
type Member struct {
	Name       string
	ClientAddr string // host:port of the client URL
	PeerAddr   string // host:port of the peer URL
	DataDir    string
	LogPath    string
	Args       []string    // all flags, as given to the process
	TLS        *tls.Config // of clients; nil: the client URL is http

	bin Binary

	mu   sync.Mutex
	proc *process // nil before the first Start
}

type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has been waited for
	err  error         // result of Wait; read after done
}

// ClientURL is the URL that clients dial.
func (m *Member) ClientURL() string {
	if m.TLS != nil {
		return "https://" + m.ClientAddr
	}
	return "http://" + m.ClientAddr
}

// PeerURL is the URL that other members dial.
func (m *Member) PeerURL() string { return "http://" + m.PeerAddr }

// Start launches the process and returns without waiting for readiness.
func (m *Member) Start() error {
	return m.StartUnder(func(cmd *exec.Cmd) (func() error, error) {
		return cmd.Wait, StartProcess(cmd)
	})
}

// StartUnder is Start by somebody who watches the process, a tracer for example.
// Launch starts cmd in a process group of its own that dies with this process (I1), and
// returns what waits for its end; how it ended, WaitExit does not know then.
func (m *Member) StartUnder(launch func(cmd *exec.Cmd) (wait func() error, err error)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.proc != nil && !m.proc.exited() {
		return fmt.Errorf("start %s: already running as process %d", m.Name, m.proc.cmd.Process.Pid)
	}
	log, err := os.OpenFile(m.LogPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("start %s: %w", m.Name, err)
	}
	defer log.Close()
	cmd := exec.Command(m.bin.Path, slices.Concat(m.bin.Args, m.Args)...)
	cmd.Stdout, cmd.Stderr = log, log
	wait, err := launch(cmd)
	if err != nil {
		return fmt.Errorf("start %s: %w", m.Name, err)
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = wait()
		close(p.done)
	}()
	m.proc = p
	return nil
}

// WaitReady polls /readyz until it answers 200, the process ends or the time
// is over.
func (m *Member) WaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	client := &http.Client{Timeout: probeTimeout, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: m.TLS}}
	for {
		if m.Exited() {
			return fmt.Errorf("%s ended before it was ready: %w", m.Name, m.ExitError())
		}
		last := probe(ctx, client, m.ClientURL()+"/readyz")
		if last == nil {
			return nil
		}
		if err := sleepOrDone(ctx, pollInterval); err != nil {
			return fmt.Errorf("%s is not ready: %w (last probe: %w)", m.Name, err, last)
		}
	}
}

func probe(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", url, resp.Status, strings.TrimSpace(string(body)))
	}
	return nil
}

// Kill sends SIGKILL and waits until the process is gone.
func (m *Member) Kill() {
	if p := m.current(); p != nil && !p.exited() {
		_ = signalGroup(p.cmd, syscall.SIGKILL)
		<-p.done
	}
}

// Stop sends SIGTERM and waits. A process that does not end in time is killed
// and reported.
func (m *Member) Stop() error {
	p := m.current()
	if p == nil || p.exited() {
		return nil
	}
	_ = signalGroup(p.cmd, syscall.SIGTERM)
	select {
	case <-p.done:
		return nil
	case <-time.After(stopTimeout):
		m.Kill()
		return fmt.Errorf("stop %s: still running %v after SIGTERM", m.Name, stopTimeout)
	}
}

// Pause stops the process without ending it: its connections stay open and
// no reset arrives at anybody.
func (m *Member) Pause() { m.signal(syscall.SIGSTOP) }

// Resume undoes Pause.
func (m *Member) Resume() { m.signal(syscall.SIGCONT) }

func (m *Member) signal(sig syscall.Signal) {
	if p := m.current(); p != nil && !p.exited() {
		_ = signalGroup(p.cmd, sig)
	}
}

// Exited reports whether the process is not running.
func (m *Member) Exited() bool {
	p := m.current()
	return p == nil || p.exited()
}

// WaitExit waits for the process to end by itself and returns its exit code.
func (m *Member) WaitExit(ctx context.Context) (code int, err error) {
	p := m.current()
	if p == nil {
		return 0, fmt.Errorf("%s was never started", m.Name)
	}
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("%s is still running: %w", m.Name, ctx.Err())
	}
}

// ExitError returns how the process ended; nil while it runs or after exit 0.
func (m *Member) ExitError() error {
	p := m.current()
	if p == nil || !p.exited() {
		return nil
	}
	if p.err == nil {
		return errors.New("exit status 0")
	}
	return p.err
}

// Log returns what the process has printed, all starts included.
func (m *Member) Log() string {
	b, err := os.ReadFile(m.LogPath)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (m *Member) current() *process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.proc
}

func (p *process) exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func sleepOrDone(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
