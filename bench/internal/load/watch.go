package load

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

const (
	watchedKey = "watched"
	// waveTimeout bounds the delivery of one event to all watchers.
	waveTimeout = 10 * time.Second
)

// FanOutConfig is one run of the watch fan-out.
type FanOutConfig struct {
	Pool     *Pool
	Server   Server
	Watchers int
	Warmup   time.Duration
	Duration time.Duration
	Seed     uint64
}

// fanOut is one putter and many watchers of one key, each with a stream of its
// own. The putter sends the next value when all watchers have got the last one:
// a wave. The value carries the wave's number, so that a lost, repeated or late
// event is noticed.
type fanOut struct {
	cfg       FanOutConfig
	rng       *rand.Rand
	wave      uint64       // owned by the putter
	waveStart atomic.Int64 // nanoseconds since began
	began     time.Time
	delivered chan struct{} // one token per event that a watcher got
	failed    chan error

	mu struct {
		sync.Mutex
		latencies *hdrhistogram.Histogram // µs from the put's start to the event
	}
}

// FanOut measures events: Result's operations are events delivered, its latency
// runs from the start of the put until a watcher has the event.
func FanOut(ctx context.Context, cfg FanOutConfig) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.Warmup+cfg.Duration+graceAfterStop)
	var watchers sync.WaitGroup
	defer watchers.Wait()
	defer cancel()
	f := &fanOut{
		cfg:       cfg,
		rng:       rand.New(rand.NewPCG(cfg.Seed, 0)),
		began:     time.Now(),
		delivered: make(chan struct{}, cfg.Watchers),
		failed:    make(chan error, cfg.Watchers),
	}
	f.mu.latencies = newLatencies()
	for number := range cfg.Watchers {
		stream, err := f.openWatch(ctx, number)
		if err != nil {
			return Result{}, fmt.Errorf("watch %d: %w", number, err)
		}
		watchers.Go(func() { f.failed <- f.watch(stream) })
	}
	return f.run(ctx)
}

// run sends waves during the warm-up, then during the measured window.
func (f *fanOut) run(ctx context.Context) (Result, error) {
	if _, err := f.waves(ctx, f.cfg.Warmup); err != nil {
		return Result{}, err
	}
	f.mu.Lock()
	f.mu.latencies.Reset()
	f.mu.Unlock()
	start := time.Now()
	m, err := openMeter(ctx, f.cfg.Server, start)
	if err != nil {
		return Result{}, err
	}
	waves, err := f.waves(ctx, f.cfg.Duration)
	if err != nil {
		return Result{}, err
	}
	events := waves * int64(f.cfg.Watchers)
	result := Result{Operations: events, PerSecond: float64(events) / time.Since(start).Seconds()}
	if err := m.close(ctx); err != nil {
		return Result{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	result.setLatencies(f.mu.latencies)
	result.setCPU(m, events)
	return result, nil
}

// waves sends whole waves for about d, at least one, and returns how many.
func (f *fanOut) waves(ctx context.Context, d time.Duration) (int64, error) {
	stop := time.Now().Add(d)
	for n := int64(1); ; n++ {
		if err := f.sendWave(ctx, int(n)); err != nil {
			return 0, err
		}
		if !time.Now().Before(stop) {
			return n, nil
		}
	}
}

func (f *fanOut) sendWave(ctx context.Context, n int) error {
	f.wave++
	value := append([]byte{}, randomValue(f.rng)...)
	binary.BigEndian.PutUint64(value, f.wave)
	put := &pb.PutRequest{Key: []byte(watchedKey), Value: value}
	f.waveStart.Store(int64(time.Since(f.began)))
	var r reply
	if err := f.cfg.Pool.invoke(ctx, f.cfg.Pool.conn(0, n), pb.KV_Put_FullMethodName, put, &r); err != nil {
		return fmt.Errorf("put of wave %d: %w", f.wave, err)
	}
	overdue := time.NewTimer(waveTimeout)
	defer overdue.Stop()
	for got := range f.cfg.Watchers {
		select {
		case <-f.delivered:
		case err := <-f.failed:
			return err
		case <-overdue.C:
			return fmt.Errorf("wave %d: %d of %d watchers have the event after %v", f.wave, got, f.cfg.Watchers, waveTimeout)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// openWatch returns when the server has confirmed the watch.
func (f *fanOut) openWatch(ctx context.Context, number int) (grpc.ClientStream, error) {
	conn := f.cfg.Pool.conn(number, 0)
	stream, err := conn.NewStream(ctx, &pb.Watch_ServiceDesc.Streams[0], pb.Watch_Watch_FullMethodName)
	if err != nil {
		return nil, err
	}
	create := &pb.WatchCreateRequest{Key: []byte(watchedKey)}
	request := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}}
	if err := stream.SendMsg(request); err != nil {
		return nil, err
	}
	var response pb.WatchResponse
	if err := stream.RecvMsg(&response); err != nil {
		return nil, err
	}
	if !response.Created || response.Canceled {
		return nil, wrongAnswer("watch not created: %v", &response)
	}
	return stream, nil
}

// watch receives events until the stream ends; wave after wave, none missing.
func (f *fanOut) watch(stream grpc.ClientStream) error {
	for want := uint64(1); ; {
		var response pb.WatchResponse
		err := stream.RecvMsg(&response)
		if stream.Context().Err() != nil {
			return stream.Context().Err()
		}
		if err != nil {
			return fmt.Errorf("watch: %w", err)
		}
		latency := time.Since(f.began) - time.Duration(f.waveStart.Load())
		for _, event := range response.Events {
			if len(event.Kv.GetValue()) != ValueBytes {
				return wrongAnswer("event without its value")
			}
			if got := binary.BigEndian.Uint64(event.Kv.Value); got != want {
				return wrongAnswer("event of wave %d, want wave %d", got, want)
			}
			want++
			f.mu.Lock()
			recordLatency(f.mu.latencies, latency)
			f.mu.Unlock()
			f.delivered <- struct{}{}
		}
	}
}
