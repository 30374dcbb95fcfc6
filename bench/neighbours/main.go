// Command neighbours measures what keyspaces feel of one beside them that is flooded above its
// limits: the latency of their puts alone and beside it, in turns.
//
//	go run ./neighbours
//	go run ./neighbours -requests -1 -bytes -1     without limits, to compare
//
// Three members on this machine, and the clients, too. Those that flood are a process of the
// lowest priority: they stand for machines of their own, whose cores would not be ours. It
// prints a table in Markdown.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	quoratev1 "github.com/quorate/quorate/api/quorate/v1"
	"github.com/quorate/quorate/bench/internal/cluster"
)

type options struct {
	ours            string
	neighbours      int
	pace            int // puts per second of each neighbour
	requests, bytes int64
	clients         int
	value           int
	retry           time.Duration
	turns           int
	turn            time.Duration
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == flooding {
		flood(os.Args[2:])
		return
	}
	var o options
	flag.StringVar(&o.ours, "ours", "", "a built quorate; empty builds ../cmd/quorate")
	flag.IntVar(&o.neighbours, "neighbours", 8, "how many keyspaces are measured")
	flag.IntVar(&o.pace, "pace", 50, "puts per second in each of them")
	flag.Int64Var(&o.requests, "requests", 50, "limit of the flooded one, per second and node; -1 is none")
	flag.Int64Var(&o.bytes, "bytes", 1<<20, "likewise, of bytes")
	flag.IntVar(&o.clients, "clients", 64, "clients that flood it")
	flag.IntVar(&o.value, "value", 256, "bytes of their values")
	flag.DurationVar(&o.retry, "retry", 0, "how long a client that floods waits after a refusal")
	flag.IntVar(&o.turns, "turns", 20, "turns, of three parts")
	flag.DurationVar(&o.turn, "turn", 2*time.Second, "length of a part")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, &o); err != nil {
		fmt.Fprintln(os.Stderr, "neighbours:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o *options) error {
	dir, err := os.MkdirTemp("", "quorate-neighbours-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.ours, err = cluster.Built(ctx, o.ours, dir); err != nil {
		return err
	}
	c, err := cluster.Start(ctx, cluster.System{Name: "quorate", Command: []string{o.ours, "serve"}}, dir)
	if err != nil {
		return err
	}
	defer c.Close()
	m := &measurement{options: o, cluster: c}
	if m.conns, err = dial(c.Endpoints()); err != nil {
		return err
	}
	if err := m.create(ctx); err != nil {
		return err
	}
	return m.measure(ctx)
}

func dial(endpoints []string) (conns []*grpc.ClientConn, err error) {
	for _, endpoint := range endpoints {
		conn, err := grpc.NewClient("passthrough:///"+endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return nil, err
		}
		conns = append(conns, conn)
	}
	return conns, nil
}

// measurement is one cluster with its keyspaces.
type measurement struct {
	*options
	cluster *cluster.Cluster
	conns   []*grpc.ClientConn
}

// noisy is the keyspace that is flooded.
const noisy = "noisy"

func (m *measurement) create(ctx context.Context) error {
	requests := []*quoratev1.CreateRequest{{Name: noisy, Limits: &quoratev1.Limits{RequestsPerSecond: m.requests, BytesPerSecond: m.bytes}}}
	for i := range m.neighbours {
		requests = append(requests, &quoratev1.CreateRequest{Name: fmt.Sprint("neighbour-", i)})
	}
	for _, r := range requests {
		if _, err := quoratev1.NewKeyspacesClient(m.conns[0]).Create(ctx, r); err != nil {
			return fmt.Errorf("create %s: %w", r.Name, err)
		}
	}
	return nil
}

func put(ctx context.Context, conn *grpc.ClientConn, keyspace, key string, value []byte) error {
	ctx = metadata.AppendToOutgoingContext(ctx, "quorate-keyspace", keyspace)
	_, err := pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: []byte(key), Value: value})
	return err
}

// turnOf puts in every neighbour at its pace for one part of a turn, and returns how long that took,
// sorted. A put is due at its time, whatever became of the one before: waiting for that counts.
func (m *measurement) turnOf(ctx context.Context) ([]time.Duration, error) {
	var mu sync.Mutex
	var took []time.Duration
	var failed error
	var wg sync.WaitGroup
	start := time.Now()
	period := time.Second / time.Duration(m.pace)
	for i := range m.neighbours {
		offset := period * time.Duration(i) / time.Duration(m.neighbours)
		for n := range int(m.turn / period) {
			wg.Go(func() {
				due := start.Add(offset + time.Duration(n)*period)
				time.Sleep(time.Until(due))
				err := put(ctx, m.conns[(i+n)%len(m.conns)], fmt.Sprint("neighbour-", i), fmt.Sprint("key", n%100), make([]byte, 256))
				d := time.Since(due)
				mu.Lock()
				defer mu.Unlock()
				if took = append(took, d); err != nil {
					failed = err
				}
			})
		}
	}
	wg.Wait()
	slices.Sort(took)
	return took, failed
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// percentile of a sorted list.
func percentile(took []time.Duration, p int) time.Duration { return took[(len(took)-1)*p/100] }

// kind is what one of the three parts of a turn has shown.
type kind struct{ p50s, p99s []float64 } // ms, of each turn

// measure has turns of three parts: alone, beside the flooded keyspace, and alone again. What
// the third one says over the first is what the machine does by itself.
func (m *measurement) measure(ctx context.Context) error {
	if _, err := m.turnOf(ctx); err != nil { // to warm up
		return err
	}
	fmt.Println("| turn | alone, p50 / p99 in ms | beside it | alone again | ratio p99 | ratio alone | the flooded one: passed, refused |\n|---|---|---|---|---|---|---|")
	var alone, beside, again kind
	for turn := range m.turns {
		var counts string
		for i, k := range []*kind{&alone, &beside, &again} {
			stop := func() string { return counts }
			if err := m.cluster.AwaitQuiet(ctx); err != nil {
				return err
			}
			var err error
			if i == 1 {
				if stop, err = m.flood(ctx); err != nil {
					return err
				}
			}
			took, err := m.turnOf(ctx)
			if counts = stop(); err != nil {
				return err
			}
			k.p50s, k.p99s = append(k.p50s, ms(percentile(took, 50))), append(k.p99s, ms(percentile(took, 99)))
		}
		fmt.Printf("| %d | %s | %s | %s | %.2f | %.2f | %s |\n", turn+1, alone.last(), beside.last(), again.last(),
			beside.p99s[turn]/alone.p99s[turn], again.p99s[turn]/alone.p99s[turn], counts)
	}
	without := kind{p50s: append(alone.p50s, again.p50s...), p99s: append(alone.p99s, again.p99s...)}
	fmt.Printf("| medians | %.1f / %.1f | %.1f / %.1f | %.1f / %.1f | **%.2f** | %.2f | |\n", median(alone.p50s), median(alone.p99s),
		median(beside.p50s), median(beside.p99s), median(again.p50s), median(again.p99s),
		median(beside.p99s)/median(without.p99s), median(again.p99s)/median(alone.p99s))
	return nil
}

// last is the last turn's.
func (k *kind) last() string {
	return fmt.Sprintf("%.1f / %.1f", k.p50s[len(k.p50s)-1], k.p99s[len(k.p99s)-1])
}

func median(list []float64) float64 {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}

// flooding makes this program the clients that flood.
const flooding = "flooding-clients"

// floodStart is how long the flood runs before a turn begins: the burst is over then.
const floodStart = 1500 * time.Millisecond

// flood starts them. The result ends them and says what became of their puts.
func (m *measurement) flood(ctx context.Context) (stop func() string, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := append([]string{flooding, strconv.Itoa(m.clients), strconv.Itoa(m.value), m.retry.String()}, m.cluster.Endpoints()...)
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	time.Sleep(floodStart)
	return func() string {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // what it has printed says enough
		return strings.TrimSpace(out.String())
	}, nil
}

// flood is the flooding process.
func flood(args []string) {
	// The lowest priority, see above. Threads inherit it, so it comes first.
	_ = syscall.Setpriority(syscall.PRIO_PROCESS, 0, 19)
	clients, _ := strconv.Atoi(args[0])
	value, _ := strconv.Atoi(args[1])
	retry, _ := time.ParseDuration(args[2])
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	conns, err := dial(args[3:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "flood:", err)
		return
	}
	var passed, refused atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for i := range clients {
		wg.Go(func() {
			body := make([]byte, value)
			for n := 0; ctx.Err() == nil; n++ {
				switch err := put(ctx, conns[i%len(conns)], noisy, fmt.Sprint("key", n%1000), body); status.Code(err) {
				case codes.OK:
					passed.Add(1)
				case codes.ResourceExhausted:
					refused.Add(1)
					time.Sleep(retry)
				}
			}
		})
	}
	wg.Wait()
	seconds := time.Since(start).Seconds()
	fmt.Printf("%.0f/s, %.0f/s\n", float64(passed.Load())/seconds, float64(refused.Load())/seconds)
}
