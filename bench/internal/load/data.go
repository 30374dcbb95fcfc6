package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

const (
	// ValueBytes is the size of every value.
	ValueBytes = 256
	// PutKeys is how many different keys puts write, at random.
	PutKeys = 100_000
	// ListKeys is the size of one listed group, ListGroups how many there are.
	ListKeys   = 100
	ListGroups = 100
	// PageKeys is the limit of a page, as Kubernetes asks for it.
	PageKeys = 500

	preloadTxnPuts    = 100 // etcd's default --max-txn-ops is 128
	preloadClients    = 64
	preloadTxnTimeout = 30 * time.Second
	rewrittenKeys     = 20_000
	keyDigits         = 8
)

// noise holds random bytes from which values are cut, so that compression in an
// engine finds nothing to save.
var noise = func() []byte {
	rng := rand.New(rand.NewPCG(1, 1))
	bytes := make([]byte, 1<<20)
	for i := range bytes {
		bytes[i] = byte(rng.Uint32())
	}
	return bytes
}()

// randomValue returns a value that nobody may change.
func randomValue(rng *rand.Rand) []byte {
	start := rng.IntN(len(noise) - ValueBytes)
	return noise[start : start+ValueBytes]
}

// numberedKey overwrites dst with prefix and n in keyDigits decimal digits.
func numberedKey(dst []byte, prefix string, n int) []byte {
	dst = append(dst[:0], prefix...)
	for range keyDigits {
		dst = append(dst, '0')
	}
	for i := len(dst) - 1; n > 0; i-- {
		dst[i] = byte('0' + n%10)
		n /= 10
	}
	return dst
}

// prefixEnd is the first key behind all keys that begin with prefix. The last
// byte of our prefixes is never 0xff.
func prefixEnd(prefix string) []byte {
	end := []byte(prefix)
	end[len(end)-1]++
	return end
}

// Preload writes keys prefix+0 … prefix+(keys-1) in transactions of many puts.
func Preload(ctx context.Context, pool *Pool, prefix string, keys int) error {
	return preload(ctx, pool, prefix, keys, preloadTxnPuts)
}

// Rewrite writes the first keys once more, one put each, so that what a system
// keeps of its latest requests is single puts and not the batches of Preload:
// etcd holds its last 5,000 to 15,000 log entries in memory, which would be all
// of a preload of a million keys.
func Rewrite(ctx context.Context, pool *Pool, prefix string, keys int) error {
	return preload(ctx, pool, prefix, min(keys, rewrittenKeys), 1)
}

func preload(ctx context.Context, pool *Pool, prefix string, keys, txnPuts int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var clients sync.WaitGroup
	for client := range preloadClients {
		clients.Go(func() {
			rng := rand.New(rand.NewPCG(2, uint64(client)))
			for n := 0; ctx.Err() == nil; n++ {
				lo := int(next.Add(int64(txnPuts))) - txnPuts
				if lo >= keys {
					return
				}
				txn := preloadTxn(rng, prefix, lo, min(lo+txnPuts, keys))
				if err := preloadOne(ctx, pool, pool.conn(client, n), txn); err != nil {
					cancel(fmt.Errorf("preload keys from %d: %w", lo, err))
				}
			}
		})
	}
	clients.Wait()
	return context.Cause(ctx)
}

func preloadOne(ctx context.Context, pool *Pool, conn *grpc.ClientConn, txn *pb.TxnRequest) error {
	ctx, cancel := context.WithTimeout(ctx, preloadTxnTimeout)
	defer cancel()
	var r reply
	return pool.invoke(ctx, conn, pb.KV_Txn_FullMethodName, txn, &r)
}

func preloadTxn(rng *rand.Rand, prefix string, lo, hi int) *pb.TxnRequest {
	txn := &pb.TxnRequest{Success: make([]*pb.RequestOp, 0, hi-lo)}
	for i := lo; i < hi; i++ {
		put := &pb.PutRequest{Key: numberedKey(nil, prefix, i), Value: randomValue(rng)}
		txn.Success = append(txn.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}})
	}
	return txn
}
