package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/quorate/quorate/internal/engine"
	"github.com/quorate/quorate/internal/env"
	"github.com/quorate/quorate/internal/mvcc"
	"github.com/quorate/quorate/internal/store"
)

func benchKVs(n int) []store.KeyValue {
	kvs := make([]store.KeyValue, n)
	for i := range kvs {
		kvs[i] = store.KeyValue{Key: fmt.Appendf(nil, "/registry/pods/default/pod-%06d", i), Value: make([]byte, 256),
			CreateRevision: 100_000, ModRevision: 200_000 + int64(i), Version: 3}
	}
	return kvs
}

var benchHeader = header{cluster: 0xcdf818194e3a8c32, member: 0x8e9e05c52164694d, revision: 1_234_567, term: 3}

// BenchmarkEncode compares our replies with proto's for the same message.
func BenchmarkEncode(b *testing.B) {
	for _, n := range []int{1, 100} {
		ours := &rangeReply{benchHeader, &store.RangeResponse{Revision: 1, KVs: benchKVs(n), Count: int64(n)}}
		theirs := rangeProto(benchHeader.proto(), ours.RangeResponse)
		benchBoth(b, fmt.Sprintf("Range%d", n), func(c *codec) { free(c.Marshal(ours)) }, func() { free(fallback.Marshal(theirs)) })
	}
	put := &putReply{benchHeader, &store.PutResponse{}}
	putProto := &pb.PutResponse{Header: benchHeader.proto()}
	benchBoth(b, "Put", func(c *codec) { free(c.Marshal(put)) }, func() { free(fallback.Marshal(putProto)) })

	// A watch message of one event, as each of many watchers of a key gets it.
	event := &mvcc.Event{KV: benchKVs(1)[0]}
	watchProto := &pb.WatchResponse{Header: benchHeader.proto(), WatchId: 7}
	if err := proto.Unmarshal(field(11, encodeEvent(event, false)), watchProto); err != nil {
		b.Fatal(err)
	}
	m := &watchReply{header: benchHeader, id: 7}
	benchBoth(b, "WatchEvent", func(c *codec) {
		m.clear()
		m.add(event.Wire(false, encodeEvent))
		free(c.Marshal(m))
	}, func() { free(fallback.Marshal(watchProto)) })
}

type freer interface{ Free() }

func free[T freer](data T, err error) {
	if err != nil {
		panic(err)
	}
	data.Free()
}

func benchBoth(b *testing.B, name string, ours func(*codec), theirs func()) {
	c := &codec{metrics: &metrics{}}
	b.Run(name+"/ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ours(c)
		}
	})
	b.Run(name+"/proto", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			theirs()
		}
	})
}

// BenchmarkDecode compares our requests with proto's, the copy out of gRPC's buffer
// included.
func BenchmarkDecode(b *testing.B) {
	put := mustMarshal(b, &pb.PutRequest{Key: bs("/registry/pods/default/pod-000001"), Value: make([]byte, 256), Lease: 1 << 60})
	benchBoth(b, "Put", func(c *codec) { must(new(putRequest).decode(append([]byte(nil), put...))) },
		func() { must(proto.Unmarshal(put, new(pb.PutRequest))) })
	get := mustMarshal(b, &pb.RangeRequest{Key: bs("/registry/pods/default/pod-000001")})
	benchBoth(b, "Range", func(c *codec) { must(new(rangeRequest).decode(append([]byte(nil), get...))) },
		func() { must(proto.Unmarshal(get, new(pb.RangeRequest))) })
	key := bs("/registry/pods/default/pod-000001") // the optimistic put of Kubernetes
	txn := mustMarshal(b, &pb.TxnRequest{
		Compare: []*pb.Compare{{Key: key, Target: pb.Compare_MOD, TargetUnion: &pb.Compare_ModRevision{ModRevision: 77777}}},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: make([]byte, 256)}}}},
		Failure: ops(opGet(string(key))),
	})
	benchBoth(b, "Txn", func(c *codec) { must(new(txnRequest).decode(append([]byte(nil), txn...))) },
		func() { must(proto.Unmarshal(txn, new(pb.TxnRequest))) })
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// instantKeyspace answers writes at once: what is left is the server itself.
type instantKeyspace struct {
	*fakeKeyspace
	work chan chan struct{}
}

func (k *instantKeyspace) Propose(_ context.Context, _ store.Kind, _ []byte) (*store.Result, error) {
	done := make(chan struct{})
	k.work <- done // as in the real one, another goroutine answers
	<-done
	return &store.Result{Response: &store.PutResponse{Revision: 1_234_567}}, nil
}

func (k *instantKeyspace) Barrier(context.Context) error {
	done := make(chan struct{})
	k.work <- done
	<-done
	return nil
}

func answerAtOnce(work chan chan struct{}) {
	for done := range work {
		close(done)
	}
}

// benchServerEnv turns the test binary into a server, so that its CPU time is its own.
const benchServerEnv = "QUORATE_BENCH_SERVER"

func runBenchServer(kind string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	fmt.Println(l.Addr())
	work := make(chan chan struct{}, 1<<16)
	go answerAtOnce(work)
	if kind == "floor" {
		s := grpc.NewServer()
		pb.RegisterKVServer(s, &floorKV{work: work})
		must(s.Serve(l))
	}
	s, err := store.Open(engine.NewMemory(), 2, store.Options{})
	must(err)
	k := &instantKeyspace{&fakeKeyspace{store: s, leases: map[int64]int64{}}, work}
	k.setStatus(func(s *KeyspaceStatus) {
		*s = KeyspaceStatus{Keyspace: DefaultKeyspace, Leader: fakeMember, Term: fakeTerm}
	})
	for i := range 100 {
		_, err := k.fakeKeyspace.Propose(context.Background(), store.KindPut,
			(&store.PutRequest{Key: fmt.Appendf(nil, "key%03d", i), Value: make([]byte, 256)}).AppendTo(nil))
		must(err)
	}
	workers, _ := strconv.Atoi(os.Getenv(benchServerEnv + "_WORKERS"))
	node := &fakeNode{keyspaces: map[string]Keyspace{DefaultKeyspace: k}}
	if kind == "watch" {
		node.keyspaces[DefaultKeyspace] = k.fakeKeyspace
	}
	server := New(node, Config{StreamWorkers: uint32(workers)}, env.SystemClock(), prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	must(server.Serve(l))
}

// floorKV is the least that a gRPC server in Go can do.
type floorKV struct {
	pb.UnimplementedKVServer
	work chan chan struct{}
}

func (s *floorKV) Put(context.Context, *pb.PutRequest) (*pb.PutResponse, error) {
	done := make(chan struct{})
	s.work <- done
	<-done
	return &pb.PutResponse{Header: benchHeader.proto()}, nil
}

func (s *floorKV) Range(context.Context, *pb.RangeRequest) (*pb.RangeResponse, error) {
	done := make(chan struct{})
	s.work <- done
	<-done
	return &pb.RangeResponse{Header: benchHeader.proto(), Count: 1, Kvs: kvsProto(benchKVs(1))}, nil
}

// BenchmarkServerCPU measures the CPU time of a server process per call, ours beside a
// bare grpc-go server that answers at once.
func BenchmarkServerCPU(b *testing.B) {
	for _, op := range []string{"put", "get"} {
		for _, kind := range []string{"floor", "ours"} {
			b.Run(op+"/"+kind, func(b *testing.B) { benchServer(b, op, kind, 256, 32) })
		}
	}
}

// startBenchServer runs a server process and connects to it.
func startBenchServer(b *testing.B, kind string, conns int) (pid int, out []*grpc.ClientConn) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), benchServerEnv+"="+kind)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	must(err)
	must(cmd.Start())
	b.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	addr := make([]byte, 64)
	n, err := stdout.Read(addr)
	must(err)
	go io.Copy(io.Discard, stdout)
	for range conns {
		conn, err := grpc.NewClient(strings.TrimSpace(string(addr[:n])), grpc.WithTransportCredentials(insecure.NewCredentials()))
		must(err)
		b.Cleanup(func() { conn.Close() })
		out = append(out, conn)
	}
	return cmd.Process.Pid, out
}

func benchServer(b *testing.B, op, kind string, clients, conns int) {
	pid, connections := startBenchServer(b, kind, conns)
	calls := make([]pb.KVClient, conns)
	for i := range calls {
		calls[i] = pb.NewKVClient(connections[i])
	}
	call := func(c pb.KVClient) error {
		if op == "get" {
			_, err := c.Range(context.Background(), &pb.RangeRequest{Key: bs("key050")})
			return err
		}
		_, err := c.Put(context.Background(), &pb.PutRequest{Key: bs("key050"), Value: make([]byte, 256)})
		return err
	}
	for _, c := range calls {
		must(call(c))
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	var running sync.WaitGroup
	before := cpuTime(pid)
	b.ResetTimer()
	for i := range clients {
		running.Go(func() {
			for left.Add(-1) >= 0 {
				must(call(calls[i%conns]))
			}
		})
	}
	running.Wait()
	b.StopTimer()
	b.ReportMetric(float64((cpuTime(pid)-before).Microseconds())/float64(b.N), "server-µs/op")
}

// BenchmarkWatchFanOut measures the server's CPU time per event delivered, when every
// put is seen by 300 watchers on as many streams.
func BenchmarkWatchFanOut(b *testing.B) {
	const watchers, conns = 300, 10
	pid, connections := startBenchServer(b, "watch", conns)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var seen atomic.Int64
	for i := range watchers {
		stream, err := pb.NewWatchClient(connections[i%conns]).Watch(ctx)
		must(err)
		must(stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: bs("k")}}}))
		_, err = stream.Recv()
		must(err)
		go func() {
			for {
				m, err := stream.Recv()
				if err != nil {
					return
				}
				seen.Add(int64(len(m.Events)))
			}
		}()
	}
	kv := pb.NewKVClient(connections[0])
	before := cpuTime(pid)
	b.ResetTimer()
	for i := range b.N {
		_, err := kv.Put(ctx, &pb.PutRequest{Key: bs("k"), Value: make([]byte, 256)})
		must(err)
		for seen.Load() < int64(i+1)*watchers {
			time.Sleep(50 * time.Microsecond)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64((cpuTime(pid)-before).Microseconds())/float64(b.N)/watchers, "server-µs/event")
}

// cpuTime reads user and system time of a process, in steps of 10 ms.
func cpuTime(pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	must(err)
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	must(err)
	system, err := strconv.Atoi(fields[12])
	must(err)
	return time.Duration(user+system) * 10 * time.Millisecond
}
