package cluster

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// statusTimeout bounds one Status call while looking for a leader.
const statusTimeout = 2 * time.Second

// Dial opens a plain gRPC connection to m. Message sizes are not limited on
// the client, so that the server's own limits are what a test meets.
func (m *Member) Dial() (*grpc.ClientConn, error) {
	options := []grpc.DialOption{}
	if name := *keyspaceFlag; name != "" && m.bin.Name == "quorate" {
		options = append(options, inKeyspace(name)...)
	}
	retry := backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, MaxDelay: 200 * time.Millisecond}
	security := insecure.NewCredentials()
	if m.TLS != nil {
		security = credentials.NewTLS(m.TLS)
	}
	return grpc.NewClient("passthrough:///"+m.ClientAddr, append(options,
		grpc.WithTransportCredentials(security),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: time.Second}),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallSendMsgSize(math.MaxInt32), grpc.MaxCallRecvMsgSize(math.MaxInt32)))...)
}

// inKeyspace makes every call of a connection one to a keyspace of quorate's.
func inKeyspace(name string) []grpc.DialOption {
	with := func(ctx context.Context) context.Context {
		return metadata.AppendToOutgoingContext(ctx, "quorate-keyspace", name)
	}
	return []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			return invoke(with(ctx), method, req, reply, cc, opts...)
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, stream grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			return stream(with(ctx), desc, cc, method, opts...)
		}),
	}
}

// createKeyspace creates the keyspace under test, as a user does.
func (c *Cluster) createKeyspace(ctx context.Context) error {
	m := c.Members[0]
	if *keyspaceFlag == "" || m.bin.Name != "quorate" {
		return nil
	}
	out, err := exec.CommandContext(ctx, m.bin.Path, "keyspace", "create", *keyspaceFlag,
		"--engine="+Engine(), "--endpoints="+strings.Join(c.Endpoints(), ",")).CombinedOutput()
	if err != nil {
		return fmt.Errorf("create keyspace %s: %w: %s", *keyspaceFlag, err, out)
	}
	return nil
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
