package placement

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/quorate/quorate/e2e/cluster"
)

// writer writes a number that grows to one keyspace, at whichever node takes it.
type writer struct {
	keyspace string
	conns    []*grpc.ClientConn
	acked    atomic.Int64 // the highest number that was acknowledged
	when     atomic.Int64 // of that, in nanoseconds
}

const writerKey = "number"

func (w *writer) run(ctx context.Context) {
	for number, at := int64(1), 0; ctx.Err() == nil; number++ {
		one, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(ctx, "quorate-keyspace", w.keyspace), 3*time.Second)
		_, err := pb.NewKVClient(w.conns[at%len(w.conns)]).Put(one, &pb.PutRequest{Key: []byte(writerKey), Value: strconv.AppendInt(nil, number, 10)})
		cancel()
		if err != nil {
			at++ // it may have been written all the same
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
			continue
		}
		w.acked.Store(number)
		w.when.Store(time.Now().UnixNano())
	}
}

// read is what the keyspace has in the end.
func (w *writer) read(ctx context.Context) (int64, error) {
	var err error
	for range 20 {
		for _, conn := range w.conns {
			one, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(ctx, "quorate-keyspace", w.keyspace), 5*time.Second)
			var r *pb.RangeResponse
			r, err = pb.NewKVClient(conn).Range(one, &pb.RangeRequest{Key: []byte(writerKey)})
			cancel()
			if err == nil && len(r.Kvs) == 1 {
				return strconv.ParseInt(string(r.Kvs[0].Value), 10, 64)
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	return 0, fmt.Errorf("read keyspace %s: %w", w.keyspace, err)
}

// writers writes to all keyspaces until the test stops them; that checks that nothing acknowledged
// was lost.
func (f *fleet) writers(names []string) (list []*writer, stop func()) {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.t.Context())
	var conns []*grpc.ClientConn
	for _, m := range f.Members {
		conn, err := m.Dial()
		if err != nil {
			f.t.Fatal(err)
		}
		f.t.Cleanup(func() { conn.Close() })
		conns = append(conns, conn)
	}
	var running sync.WaitGroup
	for i, name := range names {
		w := &writer{keyspace: name, conns: append(conns[i%len(conns):len(conns):len(conns)], conns[:i%len(conns)]...)}
		list = append(list, w)
		running.Go(func() { w.run(ctx) })
	}
	return list, func() {
		cancel()
		running.Wait()
		for _, w := range list {
			got, err := w.read(f.t.Context())
			if err != nil {
				f.t.Error(err)
			} else if acked := w.acked.Load(); got < acked {
				f.t.Errorf("keyspace %s: number is %d, %d was acknowledged", w.keyspace, got, acked)
			}
		}
	}
}

// Goal: a zone may die. Method: nine processes in three zones, a dozen keyspaces with clients that
// write all the time; the three of a zone are killed at once. Every keyspace must take writes again
// soon, then have three living replicas again without anybody's help, and one in each zone when the zone is back.
func TestZoneLoss(t *testing.T) {
	f := newFleet(t, 9, 3, "--replace-after=2s")
	names := []string{"default"}
	for i := range 12 {
		names = append(names, fmt.Sprintf("team-%d", i))
		f.must("keyspace", "create", names[i+1])
	}
	f.settled(spread)
	writers, stop := f.writers(names)
	f.eachWrote(writers, time.Now())

	var lost []*cluster.Member
	for i, m := range f.Members {
		if i%3 == 0 {
			lost = append(lost, m)
			m.Kill()
		}
	}
	killed := time.Now()
	f.eachWrote(writers, killed)
	t.Logf("every keyspace has taken a write %.1f s after the zone died", time.Since(killed).Seconds())
	f.settled(nil)
	for _, m := range lost {
		if err := m.Start(); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.settled(spread)
	stop()
}

// eachWrote waits until every keyspace has acknowledged a write since a moment.
func (f *fleet) eachWrote(writers []*writer, since time.Time) {
	f.t.Helper()
	for _, w := range writers {
		for w.when.Load() < since.UnixNano() {
			if time.Since(since) > settleTime {
				f.t.Fatalf("keyspace %s takes no writes", w.keyspace)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}
