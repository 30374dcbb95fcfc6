package crash

import (
	"context"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// observeTimeout bounds everything that is read after one crash.
const observeTimeout = 30 * time.Second

// observe reads all there is: every key, every lease, and the history as a watch tells it.
func observe(ctx context.Context, conn *grpc.ClientConn) (*state, error) {
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	s := newState()
	r, err := pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
	if err != nil {
		return nil, fmt.Errorf("read all keys: %w", err)
	}
	s.revision = r.Header.Revision
	for _, kv := range r.Kvs {
		s.keys[string(kv.Key)] = value{
			text: string(kv.Value), created: kv.CreateRevision, modified: kv.ModRevision, version: kv.Version, lease: kv.Lease,
		}
	}
	if err := s.observeLeases(ctx, conn); err != nil {
		return nil, err
	}
	return s, s.observeHistory(ctx, conn)
}

func (s *state) observeLeases(ctx context.Context, conn *grpc.ClientConn) error {
	client := pb.NewLeaseClient(conn)
	list, err := client.LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
	if err != nil {
		return fmt.Errorf("list leases: %w", err)
	}
	for _, lease := range list.Leases {
		r, err := client.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: lease.ID})
		if err != nil {
			return fmt.Errorf("ask for lease %d: %w", lease.ID, err)
		}
		s.leases[lease.ID] = r.GrantedTTL
	}
	return nil
}

// firstEvent is the revision of the first write: a new store has revision 1.
const firstEvent = 2

// observeHistory watches from the first event on, or from the first that is left.
func (s *state) observeHistory(ctx context.Context, conn *grpc.ClientConn) error {
	compacted, err := s.watch(ctx, conn, firstEvent)
	if err == nil && compacted > 0 {
		s.compacted = compacted
		compacted, err = s.watch(ctx, conn, compacted+1)
		if err == nil && compacted > 0 {
			err = fmt.Errorf("history after %d is compacted up to %d", s.compacted, compacted)
		}
	}
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	return nil
}

// watch collects events from a revision to the current one. It returns the compacted
// revision instead if that is in the way.
func (s *state) watch(ctx context.Context, conn *grpc.ClientConn, from int64) (compacted int64, err error) {
	if from > s.revision {
		return 0, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := pb.NewWatchClient(conn).Watch(ctx)
	if err != nil {
		return 0, err
	}
	create := &pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, StartRevision: from}
	if err := stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}}); err != nil {
		return 0, err
	}
	for {
		r, err := stream.Recv()
		if err != nil {
			return 0, err
		}
		if r.Canceled {
			if r.CompactRevision == 0 {
				return 0, fmt.Errorf("canceled: %s", r.CancelReason)
			}
			return r.CompactRevision, nil
		}
		for _, e := range r.Events {
			s.events = append(s.events, event{
				revision: e.Kv.ModRevision, key: string(e.Kv.Key), text: string(e.Kv.Value), deleted: e.Type.String() == "DELETE",
			})
		}
		if n := len(s.events); n > 0 && s.events[n-1].revision >= s.revision {
			return 0, nil
		}
	}
}
