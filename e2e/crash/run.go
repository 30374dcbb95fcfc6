package crash

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/quorate/quorate/e2e/cluster"
)

const (
	stepTimeout = 15 * time.Second // one request; the server is traced and slow
	exitTimeout = 10 * time.Second // a killed or stopped process to be gone
	// releaseTimeout bounds how long the log may keep what the engine has.
	releaseTimeout = 20 * time.Second
	tickPeriod     = 250 * time.Millisecond
)

// life is one start of a traced member until its end.
type life struct {
	m      *cluster.Member
	tracer *Tracer
}

// begin starts the member under a new tracer.
func begin(m *cluster.Member, killAt int) (*life, error) {
	l := &life{m: m, tracer: NewTracer(m.DataDir, killAt)}
	return l, m.StartUnder(l.tracer.Launch)
}

// end waits until the process is gone, which it is about to be. It turns the error of
// what was going on into nil if the kill explains it (I1).
func (l *life) end(ctx context.Context, err error) error {
	ctx, cancel := context.WithTimeout(ctx, exitTimeout)
	defer cancel()
	if _, werr := l.m.WaitExit(ctx); werr != nil {
		l.m.Kill()
		return errors.Join(err, werr)
	}
	if _, killed := l.tracer.Killed(); killed {
		return nil
	}
	return errors.Join(err, l.tracer.Ending())
}

// work runs the whole script, shutdown included, or as much of it as the process
// lives for.
func (l *life) work(ctx context.Context, h *history) error {
	if err := l.m.WaitReady(ctx); err != nil {
		return err
	}
	conn, err := l.m.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := h.send(ctx, conn, script()); err != nil {
		return err
	}
	if err := h.waitForRelease(ctx, conn, l.m.DataDir); err != nil {
		return err
	}
	if err := h.send(ctx, conn, lastSteps()); err != nil {
		return err
	}
	return l.m.Stop()
}

// send sends steps until one has no answer.
func (h *history) send(ctx context.Context, conn *grpc.ClientConn, steps []step) error {
	for i := range steps {
		s := &steps[i]
		h.open = s
		ctx, cancel := context.WithTimeout(ctx, stepTimeout)
		header, err := s.send(ctx, conn)
		cancel()
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if err := h.ack(s, header.Revision); err != nil {
			return err
		}
	}
	return nil
}

// waitForRelease writes until the log gives up its oldest segment. The node releases
// what the engine has flushed every two seconds.
func (h *history) waitForRelease(ctx context.Context, conn *grpc.ClientConn, dir string) error {
	if !smallDisk(dir) {
		return nil // segments are too large for the script to fill
	}
	oldest, err := oldestSegment(dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	for n := 0; ; n++ {
		now, err := oldestSegment(dir)
		if err != nil || now != oldest {
			return err
		}
		if err := h.send(ctx, conn, []step{tick(n)}); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the log keeps its segment %s: %w", oldest, ctx.Err())
		case <-time.After(tickPeriod):
		}
	}
}

// oldestSegment is the name of the log's first file.
func oldestSegment(dir string) (string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "wal", "*.wal"))
	if err != nil || len(names) == 0 {
		return "", fmt.Errorf("no segment in %s: %w", dir, err)
	}
	return slices.Min(names), nil
}

// verify starts the member without tracer, compares, writes, and stops it (I2 to I4).
func verify(ctx context.Context, m *cluster.Member, h *history) error {
	if err := m.Start(); err != nil {
		return err
	}
	if err := m.WaitReady(ctx); err != nil {
		return fmt.Errorf("start again: %w", err)
	}
	conn, err := m.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	found, err := observe(ctx, conn)
	if err != nil {
		return err
	}
	if err := h.check(found); err != nil {
		return err
	}
	if err := h.send(ctx, conn, []step{put("after", "the crash")}); err != nil {
		return err
	}
	return stopCleanly(ctx, m)
}

func stopCleanly(ctx context.Context, m *cluster.Member) error {
	if err := m.Stop(); err != nil {
		return err
	}
	code, err := m.WaitExit(ctx)
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d after SIGTERM, want 0", code)
	}
	return err
}
