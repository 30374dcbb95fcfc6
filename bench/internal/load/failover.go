package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/quorate/quorate/bench/internal/cluster"
)

const (
	// probeInterval is the distance of puts sent to each survivor, and so the
	// resolution of the measurement.
	probeInterval = 5 * time.Millisecond
	// failoverTimeout ends a round in which no survivor acknowledges anything.
	failoverTimeout = 20 * time.Second
	// probesInFlight bounds the puts that wait for an answer. Servers hold a put
	// for seconds when they have no leader: the bound is failoverTimeout's worth
	// of two survivors.
	probesInFlight = 2 * int(failoverTimeout/probeInterval)
)

// FirstAck breaks a leader by calling fail and returns the time from the start
// of that call until a survivor acknowledges a put that began after its end.
//
// Puts are sent at a fixed rate and do not wait for one another: a put that was
// forwarded to the dead leader is answered only after the server's own timeout,
// and a closed loop would measure that timeout.
func FirstAck(ctx context.Context, survivors []string, fail func() error) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, failoverTimeout)
	var probes sync.WaitGroup
	defer probes.Wait()
	defer cancel()
	conns, err := connected(ctx, survivors)
	if err != nil {
		return 0, err
	}
	defer func() {
		for _, conn := range conns {
			_ = conn.Close() // cancels the probes that are left
		}
	}()

	failed := time.Now()
	if err := fail(); err != nil {
		return 0, err
	}
	acked := make(chan time.Time, 1)
	ticker := time.NewTicker(probeInterval)
	defer ticker.Stop()
	for sent := 0; ; {
		for _, conn := range conns {
			if sent < probesInFlight {
				sent++
				probes.Go(func() { probe(ctx, conn, acked) })
			}
		}
		select {
		case at := <-acked:
			return at.Sub(failed), nil
		case <-ticker.C:
		case <-ctx.Done():
			return 0, fmt.Errorf("no put acknowledged within %v of the leader's failure", failoverTimeout)
		}
	}
}

// probe sends one put and reports when it was acknowledged; only the first
// report is kept.
func probe(ctx context.Context, conn *grpc.ClientConn, acked chan<- time.Time) {
	_, err := pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: []byte("failover")})
	if err != nil {
		return
	}
	select {
	case acked <- time.Now():
	default:
	}
}

// connected dials all endpoints and makes each acknowledge a put.
func connected(ctx context.Context, endpoints []string) ([]*grpc.ClientConn, error) {
	var conns []*grpc.ClientConn
	for _, endpoint := range endpoints {
		conn, err := cluster.Dial(endpoint)
		if err == nil {
			conns = append(conns, conn)
			_, err = pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: []byte("failover")})
		}
		if err != nil {
			errs := []error{fmt.Errorf("put at survivor %s: %w", endpoint, err)}
			for _, conn := range conns {
				errs = append(errs, conn.Close())
			}
			return nil, errors.Join(errs...)
		}
	}
	return conns, nil
}
