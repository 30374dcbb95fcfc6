package cluster

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

// statusTimeout bounds one Status call while looking for a leader.
const statusTimeout = 2 * time.Second

// Dial opens a plain gRPC connection to m. Message sizes are not limited on
// the client, so that the server's own limits are what a test meets.
func (m *Member) Dial() (*grpc.ClientConn, error) {
	retry := backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, MaxDelay: 200 * time.Millisecond}
	return grpc.NewClient("passthrough:///"+m.ClientAddr,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: time.Second}),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallSendMsgSize(math.MaxInt32), grpc.MaxCallRecvMsgSize(math.MaxInt32)))
}

// Client opens an official etcd client to the given endpoints and closes it
// with the test.
func Client(t testing.TB, endpoints ...string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{
		Endpoints:            endpoints,
		DialTimeout:          5 * time.Second,
		DialKeepAliveTime:    2 * time.Second,
		DialKeepAliveTimeout: 2 * time.Second,
		Logger:               zap.NewNop(),
	})
	if err != nil {
		t.Fatalf("client for %v: %v", endpoints, err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Status asks m itself, over a connection of its own.
func (m *Member) Status(ctx context.Context) (*pb.StatusResponse, error) {
	conn, err := m.Dial()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	return pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{})
}

// WaitLeader polls until a running member says of itself that it leads.
func (c *Cluster) WaitLeader(ctx context.Context) (*Member, error) {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		var errs []error
		for _, m := range c.Members {
			if m.Exited() {
				continue
			}
			s, err := m.Status(ctx)
			if err == nil && s.Leader != 0 && s.Leader == s.Header.MemberId {
				return m, nil
			}
			errs = append(errs, err)
		}
		if err := sleepOrDone(ctx, pollInterval); err != nil {
			return nil, fmt.Errorf("no leader: %w", errors.Join(append(errs, err)...))
		}
	}
}
