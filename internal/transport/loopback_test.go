package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"

	"github.com/quorate/quorate/internal/env"
)

// The tests of this file run over real TCP: they check that the kernel's ways of ending
// connections are what the network in memory takes them for.

// news is a Handler that passes everything on through channels.
type news struct {
	*sink
	down     chan bool // reset
	bodies   chan string
	snapshot func(io.Reader) error
}

func newNews() *news {
	return &news{sink: newSink(), down: make(chan bool, 16), bodies: make(chan string, 10_000)}
}

func (n *news) PeerDown(_ NodeID, reset bool) { n.down <- reset }

func (n *news) Deliver(_ NodeID, packets []Packet) {
	for i := range packets {
		n.bodies <- string(packets[i].Body)
	}
}

func (n *news) Snapshot(_ NodeID, _ SnapshotHeader, r io.Reader) error { return n.snapshot(r) }

// awaitReset waits for the news that the peer's process died.
func (n *news) awaitReset() {
	for reset := range n.down {
		if reset {
			return
		}
	}
}

// Goal: packets cross real sockets in order, large ones too, and a round trip is measured.
func TestLoopbackDelivers(t *testing.T) {
	na, nb := newNews(), newNews()
	a, _ := loopbackPair(t, na, nb)
	<-na.up
	for i := range 5000 {
		body := fmt.Sprint(i)
		if i%1000 == 0 {
			body += string(make([]byte, 1<<20))
		}
		for !a.Send(2, &Packet{Kind: PacketForward, Body: []byte(body)}) {
			t.Fatalf("packet %d was not taken: %+v", i, a.Stats())
		}
	}
	a.Flush()
	for i := range 5000 {
		got := <-nb.bodies
		var n int
		if _, err := fmt.Sscanf(got[:min(len(got), 10)], "%d", &n); err != nil || n != i {
			t.Fatalf("packet %d is %q, %v", i, got[:10], err)
		}
	}
	// Counters follow a write, and the echo of the first keepalive, within moments.
	for s := a.Stats().Peers[0]; s.RTT == 0 || s.SentPackets != 5000; s = a.Stats().Peers[0] {
		runtime.Gosched()
	}
	if s := a.Stats().Peers[0]; s.SentWrites > 2500 {
		t.Errorf("stats: %+v", s)
	}
}

// lingerListener accepts connections whose Close sends RST, as the kernel does for a
// process that dies with data unread.
type lingerListener struct{ net.Listener }

func (l lingerListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		err = c.(*net.TCPConn).SetLinger(0)
	}
	return c, err
}

// lingerNetwork dials such connections.
type lingerNetwork struct{ env.Network }

func (n lingerNetwork) Dial(ctx context.Context, addr string) (net.Conn, error) {
	c, err := n.Network.Dial(ctx, addr)
	if err == nil {
		err = c.(*net.TCPConn).SetLinger(0)
	}
	return c, err
}

// Goal: FIN and RST both count as the death of the process (T6).
func TestLoopbackDeathIsAReset(t *testing.T) {
	for _, rst := range []bool{false, true} {
		na, nb := newNews(), newNews()
		var ts [2]*Transport
		var peers []Peer
		for i, h := range []Handler{na, nb} {
			network := env.TCP()
			l, err := network.Listen(t.Context(), "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			peers = append(peers, Peer{ID: NodeID(i + 1), Addr: l.Addr().String()})
			if rst {
				network, l = lingerNetwork{network}, lingerListener{l}
			}
			ts[i] = New(Config{
				Identity: Identity{Cluster: 1, Node: NodeID(i + 1), Incarnation: 1},
				Network:  network, Clock: env.SystemClock(), Handler: h, Seed: env.Seed(),
			})
			go func() { _ = ts[i].Serve(l) }() // ends with Close
		}
		for _, tr := range ts {
			tr.SetPeers(peers)
		}
		<-na.up
		<-nb.up
		// A packet from b proves that a's connection from b is live.
		ts[1].Send(1, aMessage())
		ts[1].Flush()
		<-na.bodies
		ts[1].Close()
		na.awaitReset()
		ts[0].Close()
	}
}

// Goal: a receiver's refusal in the middle of a large stream reaches the sender in words,
// not as a broken connection.
func TestLoopbackSnapshotRefusedInTheMiddle(t *testing.T) {
	na, nb := newNews(), newNews()
	a, b := loopbackPair(t, na, nb)
	refusal := errors.New("no space")
	for range 10 {
		nb.snapshot = func(r io.Reader) error {
			_, _ = io.CopyN(io.Discard, r, 100_000)
			return refusal
		}
		err := a.SendSnapshot(t.Context(), 2, aHeader(5), func(w io.Writer) error {
			for {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return err
				}
			}
		})
		if !errors.Is(err, ErrSnapshotFailed) || !bytes.Contains([]byte(err.Error()), []byte("no space")) {
			t.Fatal(err)
		}
	}
	want := state(3 << 20)
	nb.snapshot = func(r io.Reader) error {
		got, err := io.ReadAll(r)
		if err == nil && !bytes.Equal(got, want) {
			err = errors.New("other bytes")
		}
		return err
	}
	if err := a.SendSnapshot(t.Context(), 2, aHeader(5), write(want)); err != nil {
		t.Error(err)
	}
	if s := b.Stats(); s.SnapshotsReceived != 1 || s.SnapshotsFailed != 10 {
		t.Errorf("stats: %+v", s)
	}
}

// Goal: whoever flushes writes little at once and never waits, and what the kernel does not
// take goes on in order from there (T1, T2). Method: a receiver that stands still until the
// sender's buffer is full, while every packet is flushed on its own.
func TestLoopbackFlushesAtOnceAndInOrder(t *testing.T) {
	na, nb := newNews(), newNews()
	a, _ := loopbackPair(t, na, nb)
	<-na.up
	sent, body := 0, string(make([]byte, 4000))
	for ; ; sent++ {
		if !a.Send(2, &Packet{Kind: PacketForward, Body: fmt.Appendf(nil, "%d%s", sent, body)}) {
			break // full: Flush has not waited for the receiver
		}
		a.Flush()
	}
	if sent < cap(nb.bodies) {
		t.Fatalf("the buffer was full after %d packets", sent)
	}
	for i := range sent {
		got := <-nb.bodies
		var n int
		if _, err := fmt.Sscanf(got[:min(len(got), 10)], "%d", &n); err != nil || n != i {
			t.Fatalf("packet %d is %q, %v", i, got[:10], err)
		}
	}
	for a.Stats().Peers[0].SentPackets != uint64(sent) {
		runtime.Gosched()
	}
	if s := a.Stats().Peers[0]; s.SentWrites < 100 {
		t.Errorf("%d packets left in %d writes: nothing was written at once", s.SentPackets, s.SentWrites)
	}
}
