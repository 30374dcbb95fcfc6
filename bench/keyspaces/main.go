// Command keyspaces measures what many keyspaces cost: to create them, to have them idle, to
// start again with them, to write to one that was idle, to lose the node that leads a third
// of them, and to use a hundred instead of one.
//
//	go run ./keyspaces -keyspaces 1000
//	go run ./keyspaces -only spread     one of these alone
//	go run ./keyspaces -etcds 100       the same number of etcd clusters, to compare
//
// Three members on this machine. It prints a table in Markdown.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	quoratev1 "github.com/quorate/quorate/api/quorate/v1"
	"github.com/quorate/quorate/bench/internal/cluster"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == builtInEtcd {
		etcdmain.Main(append([]string{"etcd"}, os.Args[2:]...))
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	count := flag.Int("keyspaces", 1000, "how many keyspaces")
	etcds := flag.Int("etcds", 0, "measure so many three-member etcd clusters instead")
	ours := flag.String("ours", "", "a built quorate; empty builds ../cmd/quorate")
	only := flag.String("only", "idle,cold,spread,restart,lose", "what to measure, in this order, once the keyspaces are created")
	flag.Parse()
	if err := run(ctx, *count, *etcds, *ours, strings.Split(*only, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "keyspaces:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, count, etcds int, ours string, only []string) error {
	dir, err := os.MkdirTemp("", "quorate-keyspaces-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Println("| what | measured |\n|---|---|")
	if etcds > 0 {
		return manyEtcds(ctx, etcds, dir)
	}
	if ours, err = cluster.Built(ctx, ours, dir); err != nil {
		return err
	}
	c, err := cluster.Start(ctx, cluster.System{Name: "quorate", Command: []string{ours, "serve"}}, dir)
	if err != nil {
		return err
	}
	defer c.Close()
	m := &measurement{cluster: c, count: count}
	steps := []step{{"dial", m.dial}, {"create", m.create}, {"idle", m.idle}, {"cold", m.coldWrites}, {"spread", m.spread}, {"restart", m.restart}, {"lose", m.lose}}
	only = append(only, "dial", "create")
	for _, name := range only {
		if !slices.ContainsFunc(steps, func(s step) bool { return s.name == name }) {
			return fmt.Errorf("-only: there is no %q", name)
		}
	}
	for _, s := range steps {
		if !slices.Contains(only, s.name) {
			continue
		}
		if err := s.measure(ctx); err != nil {
			return err
		}
	}
	return nil
}

type step struct {
	name    string
	measure func(context.Context) error
}

// measurement is one cluster with its keyspaces.
type measurement struct {
	cluster *cluster.Cluster
	count   int
	conns   []*grpc.ClientConn
}

func row(what, format string, args ...any) {
	fmt.Printf("| %s | %s |\n", what, fmt.Sprintf(format, args...))
}

func (m *measurement) dial(context.Context) error {
	for _, endpoint := range m.cluster.Endpoints() {
		conn, err := grpc.NewClient("passthrough:///"+endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		m.conns = append(m.conns, conn)
	}
	return nil
}

func name(i int) string { return fmt.Sprintf("k%05d", i) }

// each calls do for every i below n, workers at a time, until one fails.
func each(ctx context.Context, n, workers int, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range next {
				if err := do(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := 0; i < n && ctx.Err() == nil; i++ {
		next <- i
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}

const creators = 8

func (m *measurement) create(ctx context.Context) error {
	start := time.Now()
	err := each(ctx, m.count, creators, func(ctx context.Context, i int) error {
		_, err := quoratev1.NewKeyspacesClient(m.conns[i%len(m.conns)]).Create(ctx, &quoratev1.CreateRequest{Name: name(i)})
		if err != nil {
			return fmt.Errorf("create %s: %w", name(i), err)
		}
		return nil
	})
	row(fmt.Sprintf("create %d keyspaces × 3 replicas, %d at a time", m.count, creators), "%.1f s", time.Since(start).Seconds())
	return err
}

// An idle cluster is one whose groups have gone cold and whose nodes have given memory back: a minute
// after the last work, that is.
const (
	idleAfter  = time.Minute
	idleWindow = 20 * time.Second
)

// idle waits until all groups are cold and measures what they cost then.
func (m *measurement) idle(ctx context.Context) error {
	start := time.Now()
	for quiet := 0; quiet < 3; {
		before, err := m.cluster.CPU()
		if err != nil {
			return err
		}
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
		after, err := m.cluster.CPU()
		if err != nil {
			return err
		}
		if quiet++; after-before > 200*time.Millisecond {
			quiet = 0
		}
		if time.Since(start) > 5*time.Minute {
			return fmt.Errorf("not idle after 5 minutes: %v of CPU in a second", after-before)
		}
	}
	if err := sleep(ctx, idleAfter); err != nil {
		return err
	}
	before, err := m.cluster.CPU()
	if err != nil {
		return err
	}
	if err := sleep(ctx, idleWindow); err != nil {
		return err
	}
	after, err := m.cluster.CPU()
	if err != nil {
		return err
	}
	memory, err := m.cluster.Memory()
	if err != nil {
		return err
	}
	nodes := float64(len(m.conns))
	row("idle, CPU per node", "%.2f %% of a core", 100*(after-before).Seconds()/idleWindow.Seconds()/nodes)
	row("idle, memory per node (RSS)", "%.0f MB", float64(memory.ResidentBytes)/nodes/1e6)
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (m *measurement) put(ctx context.Context, node, keyspace int, key string) error {
	_, err := m.putAt(ctx, node, keyspace, key)
	return err
}

// putAt also returns the member that has answered: a node passes on what it does not serve.
func (m *measurement) putAt(ctx context.Context, node, keyspace int, key string) (member uint64, err error) {
	ctx = metadata.AppendToOutgoingContext(ctx, "quorate-keyspace", name(keyspace))
	resp, err := pb.NewKVClient(m.conns[node%len(m.conns)]).Put(ctx, &pb.PutRequest{Key: []byte(key), Value: make([]byte, 256)})
	if err != nil {
		return 0, fmt.Errorf("put in %s: %w", name(keyspace), err)
	}
	return resp.Header.MemberId, nil
}

// coldWrites writes once to each of some keyspaces that rest.
func (m *measurement) coldWrites(ctx context.Context) error {
	var took []time.Duration
	for i := 0; i < m.count; i += max(1, m.count/200) {
		start := time.Now()
		if err := m.put(ctx, i, i, "cold"); err != nil {
			return err
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	row("first write to a cold keyspace", "p50 %.1f ms, p99 %.1f ms", ms(took[len(took)/2]), ms(took[len(took)*99/100]))
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// spread compares the throughput of a hundred keyspaces with that of one, and what a put costs
// the servers.
func (m *measurement) spread(ctx context.Context) error {
	for _, clients := range []int{64, 1000} {
		if err := m.spreadWith(ctx, clients); err != nil {
			return err
		}
	}
	return nil
}

func (m *measurement) spreadWith(ctx context.Context, clients int) error {
	const puts, turns = 20000, 5
	rate := func(keyspaces int) (perSecond, cpu float64, err error) {
		before, err := m.cluster.CPU()
		if err != nil {
			return 0, 0, err
		}
		start := time.Now()
		err = each(ctx, puts, clients, func(ctx context.Context, i int) error {
			return m.put(ctx, i, i%keyspaces, fmt.Sprint("key", i%1000))
		})
		took := time.Since(start)
		after, cpuErr := m.cluster.CPU()
		return puts / took.Seconds(), float64((after - before).Microseconds()) / puts, errors.Join(err, cpuErr)
	}
	many := min(100, m.count)
	var rates, costs []float64
	for range turns {
		oneRate, oneCPU, err := rate(1)
		if err != nil {
			return err
		}
		manyRate, manyCPU, err := rate(many)
		if err != nil {
			return err
		}
		rates, costs = append(rates, manyRate/oneRate), append(costs, manyCPU/oneCPU)
		fmt.Fprintf(os.Stderr, "%d clients, one: %.0f/s, %.0f µs of server CPU; %d: %.0f/s, %.0f µs\n", clients, oneRate, oneCPU, many, manyRate, manyCPU)
	}
	slices.Sort(rates)
	slices.Sort(costs)
	row(fmt.Sprintf("puts per second over %d keyspaces / over one, %d clients, median of %d turns", many, clients, turns), "%.2f", rates[turns/2])
	row(fmt.Sprintf("server CPU per put likewise, %d clients", clients), "%.2f", costs[turns/2])
	return nil
}

// restart kills a node and starts it again, until it serves every keyspace itself.
func (m *measurement) restart(ctx context.Context) error {
	self, err := m.putAt(ctx, 0, 0, "who")
	if err != nil {
		return err
	}
	m.cluster.Kill(0)
	start := time.Now()
	if err := m.cluster.Restart(ctx, 0); err != nil {
		return err
	}
	row("a node restarts: until it serves the default keyspace", "%.1f s", time.Since(start).Seconds())
	err = each(ctx, m.count, 64, func(ctx context.Context, i int) error {
		for {
			member, err := m.putAt(ctx, 0, i, "back")
			if err == nil && member == self || ctx.Err() != nil {
				return err
			}
		}
	})
	row("until it has itself taken a write in each, 64 clients", "%.1f s", time.Since(start).Seconds())
	return err
}

// insist puts until that works.
func (m *measurement) insist(ctx context.Context, node, keyspace int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		one, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := m.put(one, node, keyspace, "insist")
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
}

// lose kills a node that leads its share and writes to every keyspace.
func (m *measurement) lose(ctx context.Context) error {
	if err := sleep(ctx, 5*time.Second); err != nil {
		return err
	}
	led, err := m.led(ctx, 1) // 0 has been restarted, and leads nothing
	if err != nil {
		return err
	}
	m.cluster.Kill(1)
	start := time.Now()
	err = each(ctx, len(led), 64, func(ctx context.Context, i int) error { return m.insist(ctx, 2*(i%2), led[i]) })
	row(fmt.Sprintf("a node dies: until each of the %d keyspaces that it led has taken a write", len(led)), "%.1f s", time.Since(start).Seconds())
	return err
}

// led lists the keyspaces that a node leads, as it says itself.
func (m *measurement) led(ctx context.Context, node int) (list []int, err error) {
	answer, err := quoratev1.NewKeyspacesClient(m.conns[node]).List(ctx, &quoratev1.ListRequest{Serializable: true}, grpc.MaxCallRecvMsgSize(64<<20))
	if err != nil {
		return nil, err
	}
	status, err := pb.NewMaintenanceClient(m.conns[node]).Status(ctx, &pb.StatusRequest{})
	if err != nil {
		return nil, err
	}
	for _, k := range answer.Keyspaces {
		var i int
		if k.Shards[0].Leader != status.Header.MemberId {
			continue
		}
		if _, err := fmt.Sscanf(k.Name, "k%d", &i); err != nil {
			return nil, fmt.Errorf("keyspace %s: %w", k.Name, err)
		}
		list = append(list, i)
	}
	return list, nil
}

// builtInEtcd makes this program a member of etcd.
const builtInEtcd = "etcd-member"

// manyEtcds starts as many clusters of etcd, one after the other, and leaves them idle.
func manyEtcds(ctx context.Context, count int, dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var clusters []*cluster.Cluster
	defer func() {
		for _, c := range clusters {
			c.Close()
		}
	}()
	start := time.Now()
	for range count {
		c, err := cluster.Start(ctx, cluster.System{Name: "etcd", Command: []string{self, builtInEtcd, "--log-level=error"}}, dir)
		if err != nil {
			return err
		}
		clusters = append(clusters, c)
	}
	row(fmt.Sprintf("start %d clusters of three etcd members", count), "%.1f s", time.Since(start).Seconds())
	if err := sleep(ctx, idleWindow); err != nil {
		return err
	}
	var before, after time.Duration
	var memory int64
	for _, c := range clusters {
		used, err := c.CPU()
		if err != nil {
			return err
		}
		before += used
	}
	if err := sleep(ctx, idleWindow); err != nil {
		return err
	}
	for _, c := range clusters {
		used, err := c.CPU()
		if err != nil {
			return err
		}
		m, err := c.Memory()
		if err != nil {
			return err
		}
		after, memory = after+used, memory+m.AnonymousBytes
	}
	row("idle, CPU of all", "%.1f %% of a core", 100*(after-before).Seconds()/idleWindow.Seconds())
	row("idle, memory of all (without mapped files)", "%.0f MB", float64(memory)/1e6)
	return nil
}
