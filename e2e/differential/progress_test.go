package differential

import (
	"context"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/quorate/quorate/e2e/cluster"
)

// Goal: an idle watch that asked for it gets progress notifications, with its
// own id, no events and the current revision; one that did not gets none.
// Method: a short interval on both servers, two watches on one stream.
func TestProgressNotify(t *testing.T) {
	interval := []string{"--watch-progress-notify-interval=200ms"}
	for _, binary := range []cluster.Binary{cluster.Etcd(t), cluster.ServerUnderTest(t)} {
		t.Run(binary.Name, func(t *testing.T) {
			c := cluster.Start(t, cluster.Options{Binary: binary, Args: interval})
			s, err := newSide(binary.Name, c, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer s.disconnect()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			rev := s.call(ctx, methodPut, &pb.PutRequest{Key: []byte("k")}).resp.(*pb.PutResponse).Header.Revision
			stream, err := pb.NewWatchClient(s.conn).Watch(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for id := int64(1); id <= 2; id++ {
				if err := stream.Send(create(&pb.WatchCreateRequest{Key: []byte("k"), WatchId: id, ProgressNotify: id == 2})); err != nil {
					t.Fatal(err)
				}
			}
			for got := 0; got < 3; {
				r, err := stream.Recv()
				if err != nil {
					t.Fatalf("after %d notifications: %v", got, err)
				}
				if r.Created {
					continue
				}
				if r.WatchId != 2 || len(r.Events) != 0 || r.Canceled || r.Header.Revision != rev {
					t.Fatalf("not a notification of watch 2 at revision %d: %v", rev, r)
				}
				got++
			}
		})
	}
}
