package placement

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"

	"github.com/quorate/quorate/e2e/cluster"
)

// Goal: etcd's own client goes on while all replicas of its keyspace move, and with them the streams:
// writes and reads succeed, a watch sees each revision once and in order, a lease is kept. Method:
// four real nodes, of which one is always drained, in turn; clients all the time.
func TestClientsGoOnWhileReplicasMove(t *testing.T) {
	f := newFleet(t, 4, 0)
	f.must("keyspace", "create", "team-a", "--engine="+cluster.Engine())
	f.must("node", "drain", "n4")
	f.settled(carries("n4", 0, 0))
	client := cluster.Client(t, f.Endpoints()...)
	ctx, stop := context.WithCancel(metadata.AppendToOutgoingContext(t.Context(), "quorate-keyspace", "team-a"))
	defer stop()

	lease, err := client.Grant(ctx, 5)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := client.KeepAlive(ctx, lease.ID)
	if err != nil {
		t.Fatal(err)
	}
	first, err := client.Put(ctx, "leased", "yes", clientv3.WithLease(lease.ID))
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for range kept {
		}
	})
	var last int64 // acknowledged; read after the writer has ended
	writing, endWriting := context.WithCancel(ctx)
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := 0; writing.Err() == nil; i++ {
			r, err := client.Put(ctx, fmt.Sprintf("key-%d", i%10), "value")
			if err != nil {
				t.Errorf("put %d: %v", i, err)
				continue
			}
			last = r.Header.Revision
		}
	})
	writer.Go(func() {
		for i := 0; writing.Err() == nil; i++ {
			if r, err := client.Get(ctx, "leased"); err != nil || r.Count != 1 {
				t.Errorf("get %d: %v, %v", i, r, err)
			}
		}
	})
	seen := make(chan int64, 1)
	watch := client.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithRev(first.Header.Revision))
	running.Go(func() {
		next := first.Header.Revision
		for r := range watch {
			for _, e := range r.Events {
				if e.Kv.ModRevision != next {
					t.Errorf("the watch has revision %d, not %d", e.Kv.ModRevision, next)
				}
				next = e.Kv.ModRevision + 1
			}
			select {
			case <-seen:
			default:
			}
			seen <- next - 1
		}
	})
	for turn := range 8 {
		out, in := fmt.Sprintf("n%d", turn%4+1), fmt.Sprintf("n%d", (turn+3)%4+1)
		f.must("node", "undrain", in)
		f.must("node", "drain", out)
		f.settled(carries(out, 0, 0))
	}
	endWriting()
	writer.Wait()
	for at, late := int64(0), time.After(settleTime); at < last; {
		select {
		case at = <-seen:
		case <-late:
			t.Fatalf("the watch came to revision %d of %d", at, last)
		}
	}
	t.Logf("%d revisions while 8 nodes were emptied", last-first.Header.Revision)
	stop()
	running.Wait()
}
