// Command scale measures whether capacity grows with machines: what a put costs in server CPU on
// clusters of 3 to 12 nodes, each with as many keyspaces and as many puts a second per node; and how many
// replicas move when a node of the largest one goes for good.
//
//	go run ./scale -turns 5
//
// All nodes share this machine, so it is CPU that is compared and not throughput. It prints a table
// in Markdown.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	quoratev1 "github.com/quorate/quorate/api/quorate/v1"
	"github.com/quorate/quorate/bench/internal/cluster"
)

// options are the command line.
type options struct {
	ours      string
	turns     int
	window    time.Duration
	perNode   int // keyspaces
	rate      int // puts per second and node
	valueSize int
}

// sizes are the clusters that are compared.
var sizes = []int{3, 6, 12}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var o options
	flag.StringVar(&o.ours, "ours", "", "a built quorate; empty builds ../cmd/quorate")
	flag.IntVar(&o.turns, "turns", 5, "turns; each measures every size once")
	flag.DurationVar(&o.window, "window", 8*time.Second, "how long puts are measured in a turn")
	flag.IntVar(&o.perNode, "keyspaces", 10, "keyspaces per node, of three replicas each")
	flag.IntVar(&o.rate, "rate", 300, "puts per second and node")
	flag.IntVar(&o.valueSize, "value", 256, "bytes of a value")
	flag.Parse()
	if err := run(ctx, &o); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o *options) error {
	dir, err := os.MkdirTemp("", "quorate-scale-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.ours, err = cluster.Built(ctx, o.ours, dir); err != nil {
		return err
	}
	costs := make(map[int][]float64)
	for turn := range o.turns {
		for _, size := range sizes {
			last := turn == o.turns-1 && size == sizes[len(sizes)-1]
			cost, err := measure(ctx, o, dir, size, last)
			if err != nil {
				return fmt.Errorf("%d nodes: %w", size, err)
			}
			fmt.Fprintf(os.Stderr, "turn %d, %d nodes: %.0f µs of CPU per put\n", turn+1, size, cost)
			costs[size] = append(costs[size], cost)
		}
	}
	fmt.Println("\n| nodes | keyspaces | puts/s | server CPU per put (median, lowest to highest) | to 3 nodes |\n|---|---|---|---|---|")
	base := 0.0
	for _, size := range sizes {
		list := slices.Sorted(slices.Values(costs[size]))
		median := list[len(list)/2]
		if base == 0 {
			base = median
		}
		fmt.Printf("| %d | %d | %d | %.0f µs (%.0f to %.0f) | %.2fx |\n", size, size*o.perNode, size*o.rate, median, list[0], list[len(list)-1], median/base)
	}
	return nil
}

// fleet is one cluster with its keyspaces, and whom to ask for each.
type fleet struct {
	*options
	cluster *cluster.Cluster
	conns   map[uint64]*grpc.ClientConn
	leader  []uint64 // of each keyspace
}

// measure is one cluster in one turn.
func measure(ctx context.Context, o *options, dir string, size int, lose bool) (perPut float64, err error) {
	c, err := cluster.StartOf(ctx, cluster.System{Name: "quorate", Command: []string{o.ours, "serve", "--replace-after=1s"}}, dir, size)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	f := &fleet{options: o, cluster: c, conns: make(map[uint64]*grpc.ClientConn)}
	if err := f.prepare(ctx); err != nil {
		return 0, err
	}
	if perPut, err = f.load(ctx); err == nil && lose {
		err = f.lose(ctx)
	}
	return perPut, err
}

func name(i int) string { return fmt.Sprintf("k%05d", i) }

func (f *fleet) prepare(ctx context.Context) error {
	var any *grpc.ClientConn
	for _, endpoint := range f.cluster.Endpoints() {
		conn, err := grpc.NewClient("passthrough:///"+endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		// Calls about a keyspace are passed on where it is not: who answers is asked of the list,
		// which has the URLs of those that have announced themselves.
		for found := false; !found; time.Sleep(50 * time.Millisecond) {
			nodes, err := quoratev1.NewNodesClient(conn).List(ctx, &quoratev1.ListNodesRequest{})
			if err != nil {
				return err
			}
			for _, n := range nodes.Nodes {
				if slices.Contains(n.ClientUrls, "http://"+endpoint) {
					f.conns[n.Id], any, found = conn, conn, true
				}
			}
		}
	}
	for i := range len(f.cluster.Members) * f.perNode {
		if _, err := quoratev1.NewKeyspacesClient(any).Create(ctx, &quoratev1.CreateRequest{Name: name(i)}); err != nil {
			return err
		}
	}
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) { // the last may just be being founded
		if err := f.find(ctx); err == nil || time.Since(began) > 20*time.Second {
			return err
		}
	}
}

// find asks who leads each keyspace.
func (f *fleet) find(ctx context.Context) error {
	f.leader = make([]uint64, len(f.cluster.Members)*f.perNode)
	for id, conn := range f.conns {
		list, err := quoratev1.NewKeyspacesClient(conn).List(ctx, &quoratev1.ListRequest{})
		if err != nil {
			return err
		}
		for i, k := range list.Keyspaces { // by name
			if k.Shards[0].Leader == id {
				f.leader[i] = id
			}
		}
	}
	for i, id := range f.leader {
		if id == 0 {
			return fmt.Errorf("nobody leads %s", name(i))
		}
	}
	return nil
}

// load puts at the agreed rate, to each keyspace's leader, and returns what that cost above idling.
func (f *fleet) load(ctx context.Context) (perPut float64, err error) {
	if err := f.cluster.AwaitQuiet(ctx); err != nil {
		return 0, err
	}
	idle, err := f.spent(ctx, 2*time.Second)
	if err != nil {
		return 0, err
	}
	running, stop := context.WithTimeout(ctx, f.window)
	defer stop()
	var done, failed atomic.Int64
	var clients sync.WaitGroup
	each := time.Duration(float64(time.Second) * float64(f.perNode) / float64(f.rate)) // between puts of one keyspace
	value := make([]byte, f.valueSize)
	before, err := f.cluster.CPU()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	for i, id := range f.leader {
		clients.Go(func() {
			kv := pb.NewKVClient(f.conns[id])
			ctx := metadata.AppendToOutgoingContext(ctx, "quorate-keyspace", name(i))
			tick := time.NewTicker(each)
			defer tick.Stop()
			for n := 0; ; n++ {
				select {
				case <-running.Done():
					return
				case <-tick.C:
				}
				if _, err := kv.Put(ctx, &pb.PutRequest{Key: fmt.Appendf(nil, "key-%d", n%100), Value: value}); err != nil {
					failed.Add(1)
				} else {
					done.Add(1)
				}
			}
		})
	}
	clients.Wait()
	after, err := f.cluster.CPU()
	if err != nil {
		return 0, err
	}
	wanted := int64(f.window.Seconds() * float64(len(f.conns)*f.rate))
	if failed.Load() > 0 || done.Load() < wanted*9/10 {
		return 0, fmt.Errorf("%d puts of %d, %d failed: the machine is too slow for the rate", done.Load(), wanted, failed.Load())
	}
	work := (after - before).Seconds() - idle*time.Since(began).Seconds()
	return work / float64(done.Load()) * 1e6, nil
}

// spent is the CPU that all nodes together use in a second of doing nothing.
func (f *fleet) spent(ctx context.Context, window time.Duration) (perSecond float64, err error) {
	before, err := f.cluster.CPU()
	if err != nil {
		return 0, err
	}
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(window):
	}
	after, err := f.cluster.CPU()
	return (after - before).Seconds() / window.Seconds(), err
}

// lose kills a node for good and counts the replicas that move.
func (f *fleet) lose(ctx context.Context) error {
	before, err := f.places(ctx, 0)
	if err != nil {
		return err
	}
	f.cluster.Kill(len(f.cluster.Members) - 1)
	began := time.Now()
	for {
		after, err := f.places(ctx, 0)
		if err != nil {
			return err
		}
		moved, settled := 0, true
		for i := range after {
			for _, r := range after[i] {
				settled = settled && r.Role == quoratev1.Replica_VOTER
				if !slices.ContainsFunc(before[i], func(o *quoratev1.Replica) bool { return o.Node == r.Node }) {
					moved++
				}
			}
		}
		if moved > 0 && settled {
			total := 3 * len(before)
			fmt.Printf("\nOne of %d nodes goes for good: %d of %d replicas move, %.3f of them (1/%d is %.3f), within %.1f s.\n",
				len(f.cluster.Members), moved, total, float64(moved)/float64(total), len(f.cluster.Members), 1/float64(len(f.cluster.Members)), time.Since(began).Seconds())
			return nil
		}
		if time.Since(began) > time.Minute {
			return fmt.Errorf("placement does not settle: %d moved", moved)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// places asks a node where all replicas are.
func (f *fleet) places(ctx context.Context, node int) (list [][]*quoratev1.Replica, err error) {
	conn, err := cluster.Dial(f.cluster.Endpoints()[node])
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	answer, err := quoratev1.NewKeyspacesClient(conn).List(ctx, &quoratev1.ListRequest{})
	if err != nil {
		return nil, err
	}
	for _, k := range answer.Keyspaces {
		list = append(list, k.Shards[0].Replicas)
	}
	return list, nil
}
