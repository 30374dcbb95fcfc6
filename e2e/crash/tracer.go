package crash

import (
	"errors"
	"fmt"
	"syscall"
)

// Tracer runs one process, counts its file operations below a directory over all
// threads, and kills it at the entry of one of them (I1). It is used once: Launch is
// what cluster.Member.StartUnder takes.
type Tracer struct {
	dir    string // absolute, without symbolic links
	killAt int    // number of the operation, from 1; 0 lets the process live

	ended  chan struct{} // closed when the process is gone; guards what follows
	ops    []Operation   // in the order of their entries; the last may be the one that did not happen
	killed bool          // at the entry of the last operation
	status syscall.WaitStatus
	err    error // of the tracer itself
}

// NewTracer returns a tracer that kills at the given operation, or never if it is 0.
func NewTracer(dir string, killAt int) *Tracer {
	return &Tracer{dir: dir, killAt: killAt, ended: make(chan struct{})}
}

// Operations returns what the process asked for, once it has ended.
func (t *Tracer) Operations() []Operation {
	<-t.ended
	return t.ops
}

// Killed returns the operation that the process was killed before, and whether it was.
func (t *Tracer) Killed() (Operation, bool) {
	<-t.ended
	if !t.killed {
		return Operation{}, false
	}
	return t.ops[len(t.ops)-1], true
}

// Err is what hindered the tracer, after the end of the process.
func (t *Tracer) Err() error {
	<-t.ended
	return t.err
}

// Ending tells how the process ended: nil for exit code 0.
func (t *Tracer) Ending() error {
	<-t.ended
	switch {
	case t.err != nil:
		return t.err
	case t.status.Signaled():
		return fmt.Errorf("signal: %v", t.status.Signal())
	case t.status.ExitStatus() != 0:
		return fmt.Errorf("exit status %d", t.status.ExitStatus())
	}
	return nil
}

// explain says what to do where tracing is not allowed (I7). Nil stays nil.
func explain(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		return fmt.Errorf("ptrace is forbidden here, and without it nothing can be killed at a file operation: allow it (containers: SYS_PTRACE) or leave this package out: %w", err)
	}
	return fmt.Errorf("trace: %w", err)
}
