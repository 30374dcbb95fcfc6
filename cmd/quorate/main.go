package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	os.Exit(newProcess().run(context.Background()))
}

// newProcess returns what the operating system gave to this process.
func newProcess() *process {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	return &process{
		name:    filepath.Base(os.Args[0]),
		args:    os.Args[1:],
		environ: os.Environ(),
		stdin:   os.Stdin,
		stdout:  os.Stdout,
		stderr:  os.Stderr,
		signals: signals,
		exit:    os.Exit,
		node:    realNode(),
	}
}

// process is what the operating system gives to a command. Tests make their own.
type process struct {
	// name is the last element of argv[0]: called as "etcd" we behave as etcd.
	name    string
	args    []string
	environ []string
	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer
	// signals delivers the requests to stop: the first stops in order, the second at once.
	signals <-chan os.Signal
	exit    func(code int)
	node    nodeDriver
}

const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	// exitSignal plus the signal's number: ended at once.
	exitSignal = 128
)

// usageError is returned when the command line cannot be read, as opposed to one that
// asks for something impossible.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// run executes the command line and returns the exit code.
func (p *process) run(ctx context.Context) int {
	root := newRoot(p)
	root.SetArgs(p.commandLine(root))
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(p.stderr, "quorate: %v\n", err)
	if usage := (*usageError)(nil); errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

func (p *process) asEtcd() bool {
	return strings.TrimSuffix(p.name, ".exe") == "etcd"
}

func (p *process) getenv(name string) string {
	for _, kv := range p.environ {
		if n, value, ok := strings.Cut(kv, "="); ok && n == name {
			return value
		}
	}
	return ""
}
