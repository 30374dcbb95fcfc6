package transport

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/env"
)

const testCluster = 0xc1

// recorder is a Handler that writes down what happens.
type recorder struct {
	mu     sync.Mutex
	events []string // "up b", "down b", "reset b"
	bodies []string // of delivered forward packets, "a: body"
	hellos []Hello

	accept   func(Hello) error
	deliver  func(NodeID, []Packet) // nil: only record
	snapshot func(NodeID, SnapshotHeader, io.Reader) error
	probe    func(Hello) ProbeReply
}

func (r *recorder) Accept(h Hello) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hellos = append(r.hellos, h)
	if r.accept != nil {
		return r.accept(h)
	}
	return nil
}

func (r *recorder) Deliver(from NodeID, packets []Packet) {
	r.mu.Lock()
	for i := range packets {
		r.bodies = append(r.bodies, fmt.Sprintf("%s: %s", letter(from), packets[i].Body))
	}
	deliver := r.deliver
	r.mu.Unlock()
	if deliver != nil {
		deliver(from, packets)
	}
}

func (r *recorder) PeerUp(id NodeID) { r.event("up " + letter(id)) }

func (r *recorder) PeerDown(id NodeID, reset bool) {
	if reset {
		r.event("reset " + letter(id))
	} else {
		r.event("down " + letter(id))
	}
}

func (r *recorder) Snapshot(from NodeID, h SnapshotHeader, s io.Reader) error {
	if r.snapshot == nil {
		return fmt.Errorf("no snapshots here")
	}
	return r.snapshot(from, h, s)
}

func (r *recorder) Probe(h Hello) ProbeReply {
	if r.probe == nil {
		return ProbeReply{}
	}
	return r.probe(h)
}

func (r *recorder) event(e string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// take returns the events since the last take.
func (r *recorder) take() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := strings.Join(r.events, ", ")
	r.events = nil
	return s
}

func (r *recorder) received() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.bodies...)
}

// Nodes of tests are letters: a is node 1, at address "a:1".
func letter(id NodeID) string { return string(rune('a' + id - 1)) }
func nodeID(name string) NodeID {
	return NodeID(name[0]-'a') + 1
}

// testNode is one transport on a memNetwork.
type testNode struct {
	*Transport
	*recorder
	name   string
	served chan struct{} // closed when Serve has returned
	serve  error         // what it returned
}

// Close waits for Serve too: the address is then free.
func (n *testNode) Close() {
	n.Transport.Close()
	<-n.served
}

// start runs a node; change adjusts its Config.
func start(t *testing.T, n *memNetwork, name string, change func(*Config)) *testNode {
	t.Helper()
	r := &recorder{}
	c := Config{
		Identity: Identity{Cluster: testCluster, Node: nodeID(name), Incarnation: 1, Name: "node-" + name, MinLevel: 1, MaxLevel: 2},
		Network:  n.host(name), Clock: env.SystemClock(), Handler: r, Seed: env.Seed(),
	}
	if change != nil {
		change(&c)
	}
	node := &testNode{Transport: New(c), recorder: r, name: name, served: make(chan struct{})}
	l, err := c.Network.Listen(context.Background(), name+":1")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(node.served)
		node.serve = node.Serve(l)
	}()
	return node
}

// peersOf names the peers of a membership at their first incarnation.
func peersOf(names ...string) []Peer {
	var peers []Peer
	for _, name := range names {
		peers = append(peers, Peer{ID: nodeID(name), Addr: name + ":1", Incarnation: 1})
	}
	return peers
}

// die ends a node as SIGKILL does: peers see the connections end, and nothing else runs.
func (n *testNode) die(net *memNetwork, how error) {
	net.kill(n.name, how)
	n.Close()
}

// say sends a forward packet and flushes.
func (n *testNode) say(to, text string) bool {
	ok := n.Send(nodeID(to), &Packet{Kind: PacketForward, Body: []byte(text)})
	n.Flush()
	return ok
}

func (n *testNode) peerStats(t *testing.T, name string) PeerStats {
	t.Helper()
	for _, p := range n.Stats().Peers {
		if p.ID == nodeID(name) {
			return p
		}
	}
	t.Fatalf("%s has no peer %s", n.name, name)
	return PeerStats{}
}

// wantEvents compares the events since the last look.
func wantEvents(t *testing.T, n *testNode, want string) {
	t.Helper()
	if got := n.take(); got != want {
		t.Errorf("at %v, events of %s: %q, want %q", time.Now().Format("05.000"), n.name, got, want)
	}
}

// logLines is a slog handler that keeps one line per record.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *logLines) Enabled(context.Context, slog.Level) bool { return true }
func (l *logLines) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logLines) WithGroup(string) slog.Handler            { return l }
func (l *logLines) Handle(_ context.Context, r slog.Record) error {
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	return nil
}

func (l *logLines) matching(part string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line, part) {
			found = append(found, line)
		}
	}
	return found
}

// rawHello dials an address by hand and introduces itself as from; it returns the open
// connection and the verdict.
func rawHello(t *testing.T, n *memNetwork, from, to string, purpose Purpose) (net.Conn, verdict) {
	t.Helper()
	c, err := n.host(from).Dial(context.Background(), to+":1")
	if err != nil {
		t.Fatal(err)
	}
	h := Hello{
		Identity: Identity{Cluster: testCluster, Node: nodeID(from), Incarnation: 1, Name: "node-" + from},
		Expected: nodeID(to), Boot: 99, Purpose: purpose,
	}
	if _, err := c.Write(appendHandshake(ourVersions, appendHello(nil, &h))); err != nil {
		t.Fatal(err)
	}
	_, body, err := readHandshake(c)
	if err != nil {
		t.Fatal(err)
	}
	v, err := decodeVerdict(body)
	if err != nil {
		t.Fatal(err)
	}
	return c, v
}

// aMessage is a small consensus packet.
func aMessage() *Packet {
	return &Packet{Kind: PacketConsensus, Message: consensus.Message{Kind: 1, Group: 1, From: 1, To: 2, Epoch: 3}}
}

func slogOf(h slog.Handler) *slog.Logger { return slog.New(h) }

// nopListener is for tests in which it must not be used.
type nopListener struct{ net.Listener }

func (nopListener) Close() error { return nil }
