package server

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func (r *rig) keepAlive(ctx context.Context, id int64) (*pb.LeaseKeepAliveResponse, error) {
	stream, err := r.lease.LeaseKeepAlive(ctx)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil {
		return nil, err
	}
	return stream.Recv()
}
