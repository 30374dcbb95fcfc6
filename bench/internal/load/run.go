package load

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	// graceAfterStop bounds how long requests in flight may take after the
	// window; then they are cancelled.
	graceAfterStop = 30 * time.Second
	// checkEvery is the distance between checked replies of one client.
	checkEvery = 256
	// pauseAfterError keeps a refusing server from being hammered.
	pauseAfterError = 10 * time.Millisecond
	// recorderShards spreads clients over histograms: one each would take
	// 200 MB for 1000 clients, one for all would be a single lock.
	recorderShards = 16
	// latencyMax is the top of the histogram; longer latencies count as this.
	latencyMax = 2 * time.Minute
)

// errOverdue cancels requests that are in flight long after the window; they are
// counted as errors.
var errOverdue = errors.New("no answer within the grace period after the window")

// Server is what a run has to know about the system it loads.
type Server interface {
	CPU() (time.Duration, error)          // of all members since their start
	AwaitQuiet(ctx context.Context) error // until left-over work is done
}

// Config is one run of one workload.
type Config struct {
	Pool     *Pool
	Server   Server
	New      Factory
	Clients  int
	Warmup   time.Duration // load before the window
	Duration time.Duration // the window
	Seed     uint64
}

// Result is what a run measured (L2).
type Result struct {
	PerSecond      float64
	P50, P99       time.Duration
	ServerCPUPerOp time.Duration
	ClientCPUPerOp time.Duration
	Operations     int64 // that ended in the window
	Errors         int64
	FirstError     error
}

// Run loads a cluster with a closed loop of cfg.Clients clients.
func Run(ctx context.Context, cfg Config) (Result, error) {
	loadCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer time.AfterFunc(cfg.Warmup+cfg.Duration+graceAfterStop, func() { cancel(errOverdue) }).Stop()

	w := newWindow(time.Now().Add(cfg.Warmup), cfg.Duration)
	var clients sync.WaitGroup
	for number := range cfg.Clients {
		clients.Go(func() {
			client := cfg.New(number, rand.New(rand.NewPCG(cfg.Seed, uint64(number))))
			loop(loadCtx, cfg.Pool, client, number, w, cancel)
		})
	}
	meter, err := openMeter(loadCtx, cfg.Server, w.start)
	if err != nil {
		cancel(err)
	}
	clients.Wait()
	if cause := context.Cause(loadCtx); cause != nil && !errors.Is(cause, errOverdue) {
		return Result{}, cause
	}
	if err := meter.close(ctx); err != nil {
		return Result{}, err
	}
	return w.result(meter), nil
}

// loop is one client. A wrong answer ends the run for all.
func loop(ctx context.Context, pool *Pool, client Client, number int, w *window, cancel context.CancelCauseFunc) {
	record := &w.shards[number%recorderShards]
	for n := 0; ; n++ {
		start := time.Now()
		if !start.Before(w.stop) || ctx.Err() != nil {
			return
		}
		err := client.Do(ctx, pool, pool.conn(number, n), n%checkEvery == 0)
		if wrong := (*WrongAnswerError)(nil); errors.As(err, &wrong) {
			cancel(err)
			return
		}
		record.add(w, start, time.Now(), err)
		if err != nil {
			time.Sleep(pauseAfterError)
		}
	}
}

// window is the measured time and what ended in it.
type window struct {
	start, stop time.Time
	shards      [recorderShards]shard
}

type shard struct {
	mu struct {
		sync.Mutex
		latencies   *hdrhistogram.Histogram // µs, of requests that began in the window
		endedInside int64
		endedSince  int64 // since the window's start, also after its end
		errors      int64
		firstError  error
	}
}

func newWindow(start time.Time, length time.Duration) *window {
	w := &window{start: start, stop: start.Add(length)}
	for i := range w.shards {
		w.shards[i].mu.latencies = newLatencies()
	}
	return w
}

func newLatencies() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, latencyMax.Microseconds(), 3)
}

func recordLatency(latencies *hdrhistogram.Histogram, latency time.Duration) {
	if err := latencies.RecordValue(min(latency, latencyMax).Microseconds()); err != nil {
		panic(err) // min keeps the value in range
	}
}

func (s *shard) add(w *window, start, end time.Time, err error) {
	if end.Before(w.start) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.mu.errors++
		if s.mu.firstError == nil {
			s.mu.firstError = err
		}
		return
	}
	s.mu.endedSince++
	if end.Before(w.stop) {
		s.mu.endedInside++
	}
	if !start.Before(w.start) {
		recordLatency(s.mu.latencies, end.Sub(start))
	}
}

// result adds up all shards; no client may be running any more.
func (w *window) result(m *meter) Result {
	var r Result
	latencies := newLatencies()
	var endedSince int64
	for i := range w.shards {
		s := &w.shards[i].mu
		latencies.Merge(s.latencies)
		r.Operations += s.endedInside
		endedSince += s.endedSince
		r.Errors += s.errors
		if r.FirstError == nil {
			r.FirstError = s.firstError
		}
	}
	r.PerSecond = float64(r.Operations) / w.stop.Sub(w.start).Seconds()
	r.setLatencies(latencies)
	r.setCPU(m, endedSince)
	return r
}

func (r *Result) setLatencies(latencies *hdrhistogram.Histogram) {
	r.P50 = time.Duration(latencies.ValueAtQuantile(50)) * time.Microsecond
	r.P99 = time.Duration(latencies.ValueAtQuantile(99)) * time.Microsecond
}

func (r *Result) setCPU(m *meter, operations int64) {
	if operations > 0 {
		r.ServerCPUPerOp = m.server / time.Duration(operations)
		r.ClientCPUPerOp = m.client / time.Duration(operations)
	}
}

// meter is the account of CPU time from the window's start until quiet.
type meter struct {
	of             Server
	server, client time.Duration
}

// openMeter waits for the window's start and reads the clocks.
func openMeter(ctx context.Context, server Server, start time.Time) (*meter, error) {
	m := &meter{of: server}
	select {
	case <-ctx.Done():
		return m, context.Cause(ctx)
	case <-time.After(time.Until(start)):
	}
	used, err := server.CPU()
	m.server, m.client = -used, -ownCPU()
	return m, err
}

// close waits until the servers are quiet and reads the clocks again.
func (m *meter) close(ctx context.Context) error {
	m.client += ownCPU()
	if err := m.of.AwaitQuiet(ctx); err != nil {
		return err
	}
	used, err := m.of.CPU()
	m.server += used
	return err
}

func ownCPU() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err) // the arguments are constants
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
