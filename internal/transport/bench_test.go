package transport

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/env"
)

// sink counts what arrives.
type sink struct {
	packets atomic.Int64
	arrived chan struct{} // a token when packets reaches want
	want    atomic.Int64
	up      chan NodeID
}

func newSink() *sink { return &sink{arrived: make(chan struct{}, 1), up: make(chan NodeID, 16)} }

func (s *sink) Accept(Hello) error { return nil }
func (s *sink) Deliver(_ NodeID, packets []Packet) {
	if s.packets.Add(int64(len(packets))) >= s.want.Load() {
		select {
		case s.arrived <- struct{}{}:
		default:
		}
	}
}
func (s *sink) PeerUp(id NodeID)    { s.up <- id }
func (*sink) PeerDown(NodeID, bool) {}
func (*sink) Snapshot(_ NodeID, _ SnapshotHeader, r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}
func (*sink) Probe(Hello) ProbeReply { return ProbeReply{} }

// loopbackPair connects two transports over real TCP.
func loopbackPair(tb testing.TB, a, b Handler) (*Transport, *Transport) {
	tb.Helper()
	var ts [2]*Transport
	var peers [2]Peer
	for i, h := range []Handler{a, b} {
		ts[i] = New(Config{
			Identity: Identity{Cluster: 1, Node: NodeID(i + 1), Incarnation: 1, Name: fmt.Sprint("n", i+1)},
			Network:  env.TCP(), Clock: env.SystemClock(), Handler: h, Seed: uint64(i + 1),
		})
		l, err := env.TCP().Listen(context.Background(), "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		peers[i] = Peer{ID: NodeID(i + 1), Addr: l.Addr().String(), Incarnation: 1}
		go func() { _ = ts[i].Serve(l) }() // ends with Close
		tb.Cleanup(ts[i].Close)
	}
	for _, t := range ts {
		t.SetPeers(peers[:])
	}
	return ts[0], ts[1]
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSmallMessages sends appends of one 300-byte entry over loopback, in bursts that
// end with a Flush and are waited for, and as one stream; it reports the CPU of both ends
// together.
func BenchmarkSmallMessages(b *testing.B) {
	for _, burst := range []int{8, 64, 512, 0} {
		name := fmt.Sprintf("burst_%d", burst)
		if burst == 0 {
			name = "stream"
		}
		b.Run(name, func(b *testing.B) {
			from, to := newSink(), newSink()
			t, _ := loopbackPair(b, from, to)
			<-from.up
			p := Packet{Kind: PacketConsensus, Message: consensus.Message{
				Kind: 3, Group: 2, From: 1<<16 | 1, To: 2<<16 | 1, Epoch: 7, Index: 100, IndexEpoch: 7, Commit: 99,
				Entries: entries(101, 1, 300),
			}}
			b.ReportAllocs()
			b.ResetTimer()
			began := cpuTime()
			for sent := 0; sent < b.N; {
				n := min(burst, b.N-sent)
				if burst == 0 {
					n = b.N
				}
				to.want.Store(int64(sent + n))
				for range n {
					for !t.Send(2, &p) {
						runtime.Gosched() // the buffer is full
					}
				}
				t.Flush()
				<-to.arrived
				sent += n
			}
			b.ReportMetric(float64(cpuTime()-began)/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(b.N)/float64(t.Stats().Peers[0].SentWrites), "msgs/write")
		})
	}
}

// BenchmarkPingPong sends one message each way in turns: latency, and the CPU of a lone
// message.
func BenchmarkPingPong(b *testing.B) {
	from, to := newSink(), newSink()
	t, u := loopbackPair(b, from, to)
	<-from.up
	<-to.up
	p := Packet{Kind: PacketConsensus, Message: consensus.Message{Kind: 3, Group: 2, From: 1<<16 | 1, To: 2<<16 | 1, Epoch: 7, Commit: 99}}
	b.ReportAllocs()
	b.ResetTimer()
	began := cpuTime()
	for i := 0; i < b.N; i++ {
		t.Send(2, &p)
		t.Flush()
		<-to.arrived
		u.Send(1, &p)
		u.Flush()
		<-from.arrived
	}
	b.ReportMetric(float64(cpuTime()-began)/float64(2*b.N), "cpu-ns/msg")
}
