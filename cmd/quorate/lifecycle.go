package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// untilStopped returns a context that ends when the process is asked to stop, by a signal
// or by what other delivers (nil: nothing); its cause says by which. A second signal ends
// the process at once.
func (p *process) untilStopped(ctx context.Context, other <-chan string) (stop context.Context, release func()) {
	stop, ask := context.WithCancelCause(ctx)
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-ctx.Done():
			return
		case why := <-other:
			ask(errors.New(why))
		case s := <-p.signals:
			ask(errors.New("received signal " + s.String()))
		}
		select {
		case <-ctx.Done():
		case s := <-p.signals:
			p.exit(signalCode(s))
		}
	}()
	return stop, func() { cancel(); ask(nil) }
}

// stdinEnd delivers once standard input ends.
func (p *process) stdinEnd() <-chan string {
	why := make(chan string, 1)
	go func() {
		_, _ = io.Copy(io.Discard, p.stdin) // an error is an end too
		why <- "standard input ended"
	}()
	return why
}

func signalCode(s os.Signal) int {
	if n, ok := s.(syscall.Signal); ok {
		return exitSignal + int(n)
	}
	return exitFailed
}

// readyLine is what a supervised node prints when it is ready.
const readyLine = "ready"

// supervise accompanies a running node to its end, which is when stop ends or the node
// fails.
func (p *process) supervise(stop context.Context, node runningNode, c *serveConfig, log *slog.Logger) error {
	manager := serviceManager{socket: p.getenv("NOTIFY_SOCKET")}
	ready := node.Ready()
	looks := time.NewTicker(quietPeriod)
	defer looks.Stop()
	var heap quietHeap
	for {
		select {
		case <-looks.C:
			heap.look()
		case <-ready:
			ready = nil
			log.Info("ready to serve client requests")
			if c.Supervised {
				fmt.Fprintln(p.stdout, readyLine)
			}
			if err := manager.notify("READY=1"); err != nil {
				log.Warn("the service manager cannot be told", "error", err.Error())
			}
		case err := <-node.Failed():
			_ = node.Close(context.WithoutCancel(stop)) // err says more
			return err
		case <-stop.Done():
			log.Info("stopping", "reason", context.Cause(stop).Error(), "timeout", c.ShutdownTimeout)
			_ = manager.notify("STOPPING=1")
			return shutdown(context.WithoutCancel(stop), node, c.ShutdownTimeout, log)
		}
	}
}

// shutdown hands over, drains and stops. Each has a third of the time, and what it does
// not need is the next one's. Only the last must succeed: the other two make the stop
// gentle, not safe.
func shutdown(ctx context.Context, node runningNode, timeout time.Duration, log *slog.Logger) error {
	began := time.Now()
	until := func(share time.Duration) (context.Context, context.CancelFunc) {
		return context.WithDeadline(ctx, began.Add(timeout*share/3))
	}
	handover, done := until(1)
	defer done()
	if err := node.Handover(handover); err != nil {
		log.Warn("leadership was not handed over", "error", err.Error())
	}
	drain, done := until(2)
	defer done()
	if err := node.Drain(drain); err != nil {
		log.Warn("some requests were cut off", "error", err.Error())
	}
	end, done := until(3)
	defer done()
	giveUp, done := until(2 * 3)
	defer done()
	closed := make(chan error, 1)
	go func() { closed <- node.Close(end) }()
	select {
	case err := <-closed:
		if err != nil {
			return fmt.Errorf("stopped, but not in order: %w", err)
		}
	case <-giveUp.Done():
		// A disk that does not answer must not keep the process for ever. What was
		// acknowledged is on disk.
		return fmt.Errorf("stopped, but not in order: the data directory was not closed within %v: look at its disk", 2*timeout)
	}
	log.Info("stopped")
	return nil
}

// reopenOnHangup reopens the log files at each SIGHUP, until the function it returns is
// called.
func reopenOnHangup(sink *logSink, log *slog.Logger) func() {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case <-hangup:
				if err := sink.reopen(); err != nil {
					log.Error("the old log files stay in use", "error", err.Error())
				}
			}
		}
	}()
	return func() {
		signal.Stop(hangup)
		close(done)
	}
}
