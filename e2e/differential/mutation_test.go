package differential

import (
	"context"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/quorate/quorate/e2e/cluster"
)

// mutants stand for bugs of a server. Each changes some answers a little.
var mutants = map[string]func(method string, m proto.Message){
	"range count without the keys beyond the limit": func(_ string, m proto.Message) {
		if r, ok := m.(*pb.RangeResponse); ok && r.More {
			r.Count = int64(len(r.Kvs))
		}
	},
	"previous value of a put missing": func(_ string, m proto.Message) {
		if r, ok := m.(*pb.PutResponse); ok {
			r.PrevKv = nil
		}
	},
	"transaction takes the other branch": func(_ string, m proto.Message) {
		if r, ok := m.(*pb.TxnResponse); ok {
			r.Succeeded = !r.Succeeded
		}
	},
	"member id inside a transaction": func(_ string, m proto.Message) {
		if r, ok := m.(*pb.TxnResponse); ok {
			for _, op := range r.Responses {
				if p := op.GetResponsePut(); p != nil {
					p.Header.MemberId = 1
				}
			}
		}
	},
	"watch loses the last event of a message": func(method string, m proto.Message) {
		if r, ok := m.(*pb.WatchResponse); ok && len(r.Events) > 1 {
			r.Events = r.Events[:len(r.Events)-1]
		}
	},
	"watch without previous values": func(method string, m proto.Message) {
		if r, ok := m.(*pb.WatchResponse); ok {
			for _, e := range r.Events {
				e.PrevKv = nil
			}
		}
	},
	"compaction cancel carries a revision": func(method string, m proto.Message) {
		if r, ok := m.(*pb.WatchResponse); ok && r.CompactRevision != 0 {
			r.Header.Revision = r.CompactRevision
		}
	},
	"ttl of an unknown lease is 0": func(method string, m proto.Message) {
		if r, ok := m.(*pb.LeaseTimeToLiveResponse); ok && r.TTL < 0 {
			r.TTL = 0
		}
	},
	"stream counts only what it sends": func(method string, m proto.Message) {
		if r, ok := m.(*pb.RangeResponse); ok && method == "RangeStream" && r.More {
			r.Count = int64(len(r.Kvs))
		}
	},
}

// Goal: the comparison can fail, over the whole path from the wire to the
// report. Method: etcd against etcd, where a mutant changes the answers of
// one of them; each mutant must be caught, and none means no difference.
func TestMutantsAreCaught(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	etcd := cluster.Etcd(t)
	const requests = 1200 // below the first restart
	run := func(mutate func(string, proto.Message)) *failure {
		p := pair{
			reference: cluster.Start(t, cluster.Options{Binary: etcd, Name: "m"}),
			tested:    cluster.Start(t, cluster.Options{Binary: etcd, Name: "m"}),
		}
		defer p.reference.Kill()
		defer p.tested.Kill()
		s, err := newSession(ctx, p, 7)
		if err != nil {
			t.Fatal(err)
		}
		defer s.close()
		s.runner.tested.mutate = mutate
		return s.run(ctx, requests)
	}
	if f := run(nil); f != nil {
		t.Fatalf("etcd differs from itself: %v", f)
	}
	for name, mutate := range mutants {
		f := run(mutate)
		if f == nil {
			t.Errorf("not caught in %d requests: %s", requests, name)
			continue
		}
		t.Logf("caught: %s: %s", name, f.diff)
	}
}
