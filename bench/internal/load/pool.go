package load

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"

	"github.com/quorate/quorate/bench/internal/cluster"
)

// connectionsPerMember is small: many clients on one connection let the
// transport write many requests at once, which keeps the client light.
const connectionsPerMember = 2

// Pool is the shared connections to all members of one cluster, in an order
// that alternates between members.
type Pool struct {
	conns []*grpc.ClientConn
	codec grpc.CallOption
}

// NewPool prepares the connections; they open with the first request.
func NewPool(endpoints []string) (*Pool, error) {
	pool := &Pool{codec: grpc.ForceCodecV2(newLightCodec())}
	for range connectionsPerMember {
		for _, endpoint := range endpoints {
			conn, err := cluster.Dial(endpoint)
			if err != nil {
				return nil, errors.Join(err, pool.Close())
			}
			pool.conns = append(pool.conns, conn)
		}
	}
	return pool, nil
}

// Close ends all connections and with them all requests still in flight.
func (p *Pool) Close() error {
	var errs []error
	for _, conn := range p.conns {
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}

// conn is the connection of request n of a client (L1).
func (p *Pool) conn(client, n int) *grpc.ClientConn {
	return p.conns[(client+n)%len(p.conns)]
}

// invoke sends one request. The reply's message is filled only if decode is set.
func (p *Pool) invoke(ctx context.Context, conn *grpc.ClientConn, method string, request any, r *reply) error {
	return conn.Invoke(ctx, method, request, r, p.codec)
}

// WrongAnswerError says that a server answered, and wrongly.
type WrongAnswerError struct {
	What string
}

func (e *WrongAnswerError) Error() string { return "wrong answer: " + e.What }

func wrongAnswer(format string, args ...any) error {
	return &WrongAnswerError{What: fmt.Sprintf(format, args...)}
}
