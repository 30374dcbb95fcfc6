package crash

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// step is one request: how it is sent, and what it does to the state if it happens.
// A step happens wholly or not at all.
type step struct {
	name  string
	send  func(ctx context.Context, conn *grpc.ClientConn) (*pb.ResponseHeader, error)
	apply func(s *state)
}

const (
	bigBytes  = 200 << 10  // one write of the log, several of its pages
	hugeBytes = 1400 << 10 // near the largest request; eleven fill a segment of a small disk
	hugeCount = 24
	leaseTTL  = 3600 // seconds; none expires during a run
)

// script is the workload, the same in every run.
func script() []step {
	steps := []step{
		put("a", "1"), put("b", "1"), put("a", "2"),
		grant(7001), putLeased("leased/1", "x", 7001), putLeased("leased/2", "y", 7001),
		put("big/1", text("big", bigBytes)),
		pair("a", "2", "txn/1", "txn/2", "b"),
		del("a"),
		grant(7002), putLeased("leased/3", "z", 7002), revoke(7002),
		put("big/1", text("again", bigBytes)), put("big/2", text("other", bigBytes)),
		compact(8),
		put("a", "3"),
	}
	// Into the next segments of the log and through memtables of the engine. The keys
	// are few, so that most of it is garbage that can be given up.
	for i := range hugeCount {
		steps = append(steps, put(fmt.Sprintf("huge/%d", i%3), text(fmt.Sprint(i), hugeBytes)))
	}
	steps = append(steps, compact(20))
	return steps
}

// tick is the step that is repeated until the log has given up its first segment: it
// does so only while something is written.
func tick(n int) step { return put("tick", fmt.Sprint(n)) }

// lastSteps follow then.
func lastSteps() []step {
	return []step{
		put("a", "4"), pair("a", "4", "txn/3", "txn/4", "big/2"), revoke(7001),
		putLeased("b", "2", 0), put("big/1", text("end", bigBytes)), compact(30), del("a"),
	}
}

// text is a value of some length that tells what it belongs to.
func text(what string, length int) string {
	return strings.Repeat(what+".", length/(len(what)+1))
}

func put(key, text string) step { return putLeased(key, text, 0) }

func putLeased(key, text string, lease int64) step {
	return step{
		name: fmt.Sprintf("put %s = %s, lease %d", key, short(text), lease),
		send: func(ctx context.Context, conn *grpc.ClientConn) (*pb.ResponseHeader, error) {
			r, err := pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: []byte(key), Value: []byte(text), Lease: lease})
			return r.GetHeader(), err
		},
		apply: func(s *state) {
			s.revision++
			s.put(key, text, lease)
		},
	}
}

func del(key string) step {
	return step{
		name: "delete " + key,
		send: func(ctx context.Context, conn *grpc.ClientConn) (*pb.ResponseHeader, error) {
			r, err := pb.NewKVClient(conn).DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte(key)})
			return r.GetHeader(), err
		},
		apply: func(s *state) {
			s.revision++
			s.remove(key)
		},
	}
}

// pair is a transaction that, if key has the value, writes two keys and deletes a third.
// The script knows that it has: a server that thinks otherwise answers a lower revision.
func pair(key, expected, first, second, gone string) step {
	putOp := func(key string) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Value: []byte("txn")}}}
	}
	request := &pb.TxnRequest{
		Compare: []*pb.Compare{{
			Target: pb.Compare_VALUE, Key: []byte(key), TargetUnion: &pb.Compare_Value{Value: []byte(expected)},
		}},
		Success: []*pb.RequestOp{putOp(first), putOp(second), {
			Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(gone)}},
		}},
	}
	return step{
		name: fmt.Sprintf("if %s = %s put %s, put %s, delete %s", key, expected, first, second, gone),
		send: func(ctx context.Context, conn *grpc.ClientConn) (*pb.ResponseHeader, error) {
			r, err := pb.NewKVClient(conn).Txn(ctx, request)
			return r.GetHeader(), err
		},
		apply: func(s *state) {
			s.revision++
			s.put(first, "txn", 0)
			s.put(second, "txn", 0)
			s.remove(gone)
		},
	}
}

func grant(id int64) step {
	return step{
		name: fmt.Sprintf("grant lease %d", id),
		send: func(ctx context.Context, conn *grpc.ClientConn) (*pb.ResponseHeader, error) {
			r, err := pb.NewLeaseClient(conn).LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: id, TTL: leaseTTL})
			return r.GetHeader(), err
		},
		apply: func(s *state) { s.leases[id] = leaseTTL },
	}
}

// revoke ends a lease and its keys, all at one revision.
func revoke(id int64) step {
	return step{
		name: fmt.Sprintf("revoke lease %d", id),
		send: func(ctx context.Context, conn *grpc.ClientConn) (*pb.ResponseHeader, error) {
			r, err := pb.NewLeaseClient(conn).LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: id})
			return r.GetHeader(), err
		},
		apply: func(s *state) {
			delete(s.leases, id)
			keys := slices.DeleteFunc(slices.Sorted(maps.Keys(s.keys)), func(k string) bool { return s.keys[k].lease != id })
			s.revision += int64(min(1, len(keys)))
			for _, key := range keys {
				s.remove(key)
			}
		},
	}
}

func compact(revision int64) step {
	return step{
		name: fmt.Sprintf("compact at %d", revision),
		send: func(ctx context.Context, conn *grpc.ClientConn) (*pb.ResponseHeader, error) {
			r, err := pb.NewKVClient(conn).Compact(ctx, &pb.CompactionRequest{Revision: revision})
			return r.GetHeader(), err
		},
		apply: func(s *state) { s.compact(revision) },
	}
}
