package cluster

import (
	"context"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	// probeTimeout bounds one question to a member during readiness checks.
	probeTimeout = 2 * time.Second
	probePause   = 50 * time.Millisecond
)

// AwaitReady returns when every member has acknowledged a write of its own.
func (c *Cluster) AwaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for _, m := range c.Members {
		if err := m.awaitReady(ctx); err != nil {
			return fmt.Errorf("%s: %w", c.System.Name, err)
		}
	}
	return nil
}

func (m *Member) awaitReady(ctx context.Context) error {
	conn, err := Dial(m.endpoint())
	if err != nil {
		return err
	}
	defer conn.Close()
	for {
		err := probeWrite(ctx, conn)
		if err == nil {
			return nil
		}
		if !m.running() {
			return m.deathError()
		}
		if sleep(ctx, probePause) != nil {
			return fmt.Errorf("%s is not ready after %v: %w; end of its log:\n%s",
				m.Name, readyTimeout, err, m.logTail())
		}
	}
}

func probeWrite(ctx context.Context, conn *grpc.ClientConn) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	_, err := pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: []byte("ready")})
	return err
}

// Status asks one member for its view of the cluster.
func (c *Cluster) Status(ctx context.Context, i int) (*pb.StatusResponse, error) {
	conn, err := Dial(c.Members[i].endpoint())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	status, err := pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{})
	if err != nil {
		return nil, fmt.Errorf("status of %s %s: %w", c.System.Name, c.Members[i].Name, err)
	}
	return status, nil
}

// Leader finds the member that all members call their leader.
func (c *Cluster) Leader(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		leader, err := c.agreedLeader(ctx)
		if err == nil {
			return leader, nil
		}
		if sleep(ctx, probePause) != nil {
			return 0, fmt.Errorf("%s: no leader after %v: %w", c.System.Name, readyTimeout, err)
		}
	}
}

func (c *Cluster) agreedLeader(ctx context.Context) (int, error) {
	named := make(map[uint64]bool)
	self := -1
	for i := range c.Members {
		status, err := c.Status(ctx, i)
		if err != nil {
			return 0, err
		}
		named[status.Leader] = true
		if status.Leader == status.Header.GetMemberId() {
			self = i
		}
	}
	if len(named) != 1 || self < 0 {
		return 0, fmt.Errorf("members name %d leaders, leader is member %d", len(named), self)
	}
	return self, nil
}

// Dial opens a plain connection to one member. Reconnects are prompt, so that a
// failover is not measured by the client's back-off.
func Dial(endpoint string) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("passthrough:///"+endpoint,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDisableServiceConfig(),
		grpc.WithConnectParams(promptReconnect),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReplyBytes)),
	)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", endpoint, err)
	}
	return conn, nil
}

// maxReplyBytes bounds one reply; the largest is a page of 500 keys.
const maxReplyBytes = 64 << 20

var promptReconnect = grpc.ConnectParams{
	Backoff: backoff.Config{
		BaseDelay:  20 * time.Millisecond,
		Multiplier: 1.2,
		MaxDelay:   200 * time.Millisecond,
	},
	MinConnectTimeout: probeTimeout,
}
