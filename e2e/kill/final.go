package kill

import (
	"context"
	"errors"
	"fmt"
	"math"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// barrier sends a transaction through the log that cannot change anything:
// its condition never holds. It returns the revision of the store there.
func barrier(ctx context.Context, c *client) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	key := []byte("barrier")
	r, err := c.kv.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{{Key: key, Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{Version: math.MaxInt64}}},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key}}}},
	})
	if err != nil {
		return 0, err
	}
	return r.Header.Revision, nil
}

// checkMembers compares what every member itself holds with what the watch
// has shown (I5): values and revisions of all keys, and the hash of the
// history.
func (w *world) checkMembers(ctx context.Context, events []event, rev int64) error {
	want := make(map[string]event)
	for _, e := range events {
		want[e.key] = e
	}
	hashes := make(map[uint32]string)
	for i, m := range w.cluster.Members {
		c := w.clients[i] // pinned to member i
		r, err := readAll(ctx, c, rev)
		if err != nil {
			return fmt.Errorf("read everything from %s: %w", m.Name, err)
		}
		for _, kv := range r.Kvs {
			e := want[string(kv.Key)]
			if e.value != string(kv.Value) || e.revision != kv.ModRevision {
				return fmt.Errorf("%s holds %s=%s of %d, the watch ends with %s of %d", m.Name, kv.Key, kv.Value, kv.ModRevision, e.value, e.revision)
			}
		}
		if len(r.Kvs) != len(want) {
			return fmt.Errorf("%s holds %d keys, the watch has shown %d", m.Name, len(r.Kvs), len(want))
		}
		hash, err := pb.NewMaintenanceClient(c.conn).HashKV(ctx, &pb.HashKVRequest{Revision: rev})
		if err != nil {
			return fmt.Errorf("hash of %s: %w", m.Name, err)
		}
		hashes[hash.Hash] += " " + m.Name
	}
	if len(hashes) != 1 {
		return fmt.Errorf("members differ in the hash of revision %d: %v", rev, hashes)
	}
	return nil
}

// readAll reads all keys from the member's own state, as soon as that has
// reached revision rev.
func readAll(ctx context.Context, c *client, rev int64) (*pb.RangeResponse, error) {
	for {
		r, err := c.kv.Range(ctx, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Serializable: true})
		if err == nil && r.Header.Revision >= rev {
			return r, nil
		}
		if serr := sleep(ctx, errorPause); serr != nil {
			return nil, fmt.Errorf("not at revision %d: %w", rev, errors.Join(serr, err))
		}
	}
}
