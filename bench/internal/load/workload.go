package load

import (
	"context"
	"math/rand/v2"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// Key prefixes of the data sets. Groups of ListKeys keys share the leading
// digits of their number.
const (
	PutPrefix   = "put/"
	ReadPrefix  = "read/"
	LargePrefix = "large/"
	txnPrefix   = "txn/"
)

// Client is one closed loop's way to build a request and look at its answer. It
// is used by one goroutine.
type Client interface {
	// Do sends one request and waits for its answer, which is checked if check
	// is set. The error is a *WrongAnswerError or what gRPC returned.
	Do(ctx context.Context, pool *Pool, conn *grpc.ClientConn, check bool) error
}

// Factory makes the client with this number.
type Factory func(number int, rng *rand.Rand) Client

// NewPut makes clients that overwrite random keys.
func NewPut(_ int, rng *rand.Rand) Client { return &putClient{rng: rng} }

type putClient struct {
	rng     *rand.Rand
	request pb.PutRequest
}

func (c *putClient) Do(ctx context.Context, pool *Pool, conn *grpc.ClientConn, check bool) error {
	c.request.Key = numberedKey(c.request.Key, PutPrefix, c.rng.IntN(PutKeys))
	c.request.Value = randomValue(c.rng)
	var response pb.PutResponse
	err := pool.invoke(ctx, conn, pb.KV_Put_FullMethodName, &c.request, &reply{&response, check})
	if err == nil && check && response.Header.GetRevision() < 2 {
		return wrongAnswer("put at revision %d", response.Header.GetRevision())
	}
	return err
}

// rangeClient sends what next has prepared and expects a fixed shape of answer.
type rangeClient struct {
	request pb.RangeRequest
	next    func(*pb.RangeRequest) // nil: always the same request
	kvs     int
	count   int
}

func (c *rangeClient) Do(ctx context.Context, pool *Pool, conn *grpc.ClientConn, check bool) error {
	if c.next != nil {
		c.next(&c.request)
	}
	var response pb.RangeResponse
	err := pool.invoke(ctx, conn, pb.KV_Range_FullMethodName, &c.request, &reply{&response, check})
	if err != nil || !check {
		return err
	}
	if len(response.Kvs) != c.kvs || int(response.Count) != c.count {
		return wrongAnswer("range from %q: %d keys, count %d, want %d keys, count %d",
			c.request.Key, len(response.Kvs), response.Count, c.kvs, c.count)
	}
	for _, kv := range response.Kvs {
		if len(kv.Value) != ValueBytes {
			return wrongAnswer("value of %q has %d bytes, want %d", kv.Key, len(kv.Value), ValueBytes)
		}
	}
	return nil
}

// NewGet makes clients that read one random key.
func NewGet(serializable bool) Factory {
	return func(_ int, rng *rand.Rand) Client {
		return &rangeClient{
			request: pb.RangeRequest{Serializable: serializable},
			next: func(request *pb.RangeRequest) {
				request.Key = numberedKey(request.Key, ReadPrefix, rng.IntN(ListGroups*ListKeys))
			},
			kvs:   1,
			count: 1,
		}
	}
}

// NewList makes clients that read one random group of ListKeys keys.
func NewList(_ int, rng *rand.Rand) Client {
	return &rangeClient{
		next: func(request *pb.RangeRequest) {
			lo := rng.IntN(ListGroups) * ListKeys
			request.Key = numberedKey(request.Key, ReadPrefix, lo)
			request.RangeEnd = numberedKey(request.RangeEnd, ReadPrefix, lo+ListKeys)
		},
		kvs:   ListKeys,
		count: ListKeys,
	}
}

// NewPage makes clients that read the first page of all keys with LargePrefix;
// the answer also counts all of them.
func NewPage(keys int) Factory {
	return func(int, *rand.Rand) Client {
		return &rangeClient{
			request: pb.RangeRequest{Key: []byte(LargePrefix), RangeEnd: prefixEnd(LargePrefix), Limit: PageKeys},
			kvs:     min(keys, PageKeys),
			count:   keys,
		}
	}
}

// NewCount makes clients that count all keys with LargePrefix.
func NewCount(keys int) Factory {
	return func(int, *rand.Rand) Client {
		return &rangeClient{
			request: pb.RangeRequest{Key: []byte(LargePrefix), RangeEnd: prefixEnd(LargePrefix), CountOnly: true},
			count:   keys,
		}
	}
}

// NewTxn makes clients that update a key of their own if it is unchanged, as
// Kubernetes updates an object.
func NewTxn(number int, rng *rand.Rand) Client {
	key := numberedKey(nil, txnPrefix, number)
	modRevision := &pb.Compare_ModRevision{}
	put := &pb.PutRequest{Key: key}
	return &txnClient{
		rng:         rng,
		modRevision: modRevision,
		put:         put,
		request: pb.TxnRequest{
			Compare: []*pb.Compare{{
				Result: pb.Compare_EQUAL, Target: pb.Compare_MOD, Key: key, TargetUnion: modRevision,
			}},
			Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}},
			Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key}}}},
		},
	}
}

type txnClient struct {
	rng         *rand.Rand
	modRevision *pb.Compare_ModRevision // inside request
	put         *pb.PutRequest          // inside request
	request     pb.TxnRequest
	// known: the last request succeeded, so the compare must hold. After an
	// error it is not known whether that request will still be applied.
	known bool
}

// Do decodes every answer: the next request compares with its revision.
func (c *txnClient) Do(ctx context.Context, pool *Pool, conn *grpc.ClientConn, _ bool) error {
	c.put.Value = randomValue(c.rng)
	var response pb.TxnResponse
	err := pool.invoke(ctx, conn, pb.KV_Txn_FullMethodName, &c.request, &reply{&response, true})
	if err != nil {
		c.known = false
		return err
	}
	if response.Succeeded {
		c.modRevision.ModRevision = response.Header.GetRevision()
		c.known = true
		return nil
	}
	if c.known {
		return wrongAnswer("txn on %q: its revision %d was not found", c.put.Key, c.modRevision.ModRevision)
	}
	kvs := response.Responses[0].GetResponseRange().GetKvs()
	if len(kvs) != 1 {
		return wrongAnswer("txn on %q: %d keys in the else branch, want 1", c.put.Key, len(kvs))
	}
	c.modRevision.ModRevision = kvs[0].ModRevision
	return nil
}
