package kill

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/quorate/quorate/e2e/cluster"
)

const (
	keysPerRound = 6
	opTimeout    = 3 * time.Second       // one request; shorter than a leaderless pause may last
	errorPause   = 20 * time.Millisecond // between a refusal and the next try
)

// client sends one request after the other to one member. It uses the plain
// stub: nothing is retried behind its back.
type client struct {
	id   int
	conn *grpc.ClientConn
	kv   pb.KVClient
	rng  *rand.Rand
	next int              // number of the next unique value
	seen map[string]int64 // mod revision of each key as this client last saw it

	// stale makes reads serializable although they are recorded as
	// linearizable: a fault that the checks must find.
	stale bool
}

func newClient(id int, m *cluster.Member, seed uint64) (*client, error) {
	conn, err := m.Dial()
	if err != nil {
		return nil, err
	}
	return &client{id: id, conn: conn, kv: pb.NewKVClient(conn), rng: rand.New(rand.NewPCG(seed, uint64(id)))}, nil
}

// work sends requests on the round's keys until the context ends.
func (c *client) work(ctx context.Context, round int, h *history) {
	c.seen = make(map[string]int64)
	for ctx.Err() == nil {
		key := c.key(round)
		var err error
		switch n := c.rng.IntN(10); {
		case n < 4:
			err = c.put(h, key)
		case n < 7:
			err = c.get(h, key)
		case n < 9:
			err = c.swap(h, key)
		default:
			err = c.pair(h, key, c.key(round))
		}
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(errorPause):
			}
		}
	}
}

func (c *client) key(round int) string {
	return fmt.Sprintf("r%04d/%d", round, c.rng.IntN(keysPerRound))
}

func (c *client) value() string {
	c.next++
	return fmt.Sprintf("%d.%d", c.id, c.next)
}

// do runs one request and files its operations. The request is not cut short
// when the round ends: an answer is worth more than an early end.
func (c *client) do(h *history, ops []*operation, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
	defer cancel()
	begin := h.now()
	err := call(ctx)
	end := h.now()
	for _, o := range ops {
		o.client, o.call, o.ret, o.err = c.id, begin, end, err
	}
	h.add(ops...)
	return err
}

func (c *client) put(h *history, key string) error {
	o := &operation{kind: put, key: key, value: c.value()}
	return c.do(h, []*operation{o}, func(ctx context.Context) error {
		r, err := c.kv.Put(ctx, &pb.PutRequest{Key: []byte(key), Value: []byte(o.value)})
		if err == nil {
			o.applied, o.header = true, r.Header.Revision
			c.seen[key] = o.header
		}
		return err
	})
}

func (c *client) get(h *history, key string) error {
	o := &operation{kind: get, key: key}
	return c.do(h, []*operation{o}, func(ctx context.Context) error {
		r, err := c.kv.Range(ctx, &pb.RangeRequest{Key: []byte(key), Serializable: c.stale})
		if err == nil {
			c.read(o, r)
			o.header = r.Header.Revision
		}
		return err
	})
}

func (c *client) read(o *operation, r *pb.RangeResponse) {
	c.seen[o.key] = 0
	for _, kv := range r.Kvs {
		o.found, o.read, o.modRev = true, string(kv.Value), kv.ModRevision
		c.seen[o.key] = kv.ModRevision
	}
}

// swap writes if the key is where this client last saw it, else reads it.
func (c *client) swap(h *history, key string) error {
	o := &operation{kind: swap, key: key, value: c.value(), expect: c.seen[key]}
	return c.do(h, []*operation{o}, func(ctx context.Context) error {
		r, err := c.kv.Txn(ctx, &pb.TxnRequest{
			Compare: []*pb.Compare{{Key: []byte(key), Target: pb.Compare_MOD, TargetUnion: &pb.Compare_ModRevision{ModRevision: o.expect}}},
			Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Value: []byte(o.value)}}}},
			Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(key)}}}},
		})
		if err != nil {
			return err
		}
		o.header = r.Header.Revision
		if r.Succeeded {
			o.applied = true
			c.seen[key] = o.header
		} else {
			c.read(o, r.Responses[0].GetResponseRange())
		}
		return nil
	})
}

// pair writes two keys in one transaction.
func (c *client) pair(h *history, a, b string) error {
	if a == b {
		return c.put(h, a)
	}
	ops := []*operation{{kind: put, key: a, pair: b, value: c.value()}, {kind: put, key: b, pair: a, value: c.value()}}
	return c.do(h, ops, func(ctx context.Context) error {
		q := &pb.TxnRequest{}
		for _, o := range ops {
			put := &pb.PutRequest{Key: []byte(o.key), Value: []byte(o.value)}
			q.Success = append(q.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}})
		}
		r, err := c.kv.Txn(ctx, q)
		if err != nil {
			return err
		}
		for _, o := range ops {
			o.applied, o.header = true, r.Header.Revision
			c.seen[o.key] = o.header
		}
		return nil
	})
}
