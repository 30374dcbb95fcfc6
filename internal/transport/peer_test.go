package transport

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate/internal/env"
)

// pair starts two connected nodes, a and b, and ends them with the test.
func pair(t *testing.T, change func(*Config)) (*memNetwork, *testNode, *testNode) {
	t.Helper()
	n := newMemNetwork()
	a, b := start(t, n, "a", change), start(t, n, "b", change)
	t.Cleanup(func() { a.Close(); b.Close() })
	a.SetPeers(peersOf("a", "b"))
	b.SetPeers(peersOf("a", "b"))
	synctest.Wait()
	wantEvents(t, a, "up b")
	wantEvents(t, b, "up a")
	return n, a, b
}

// Goal: packets arrive whole and in order, in both directions. Method: many of them.
func TestPacketsArriveInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t, nil)
		var want []string
		for i := range 500 {
			text := fmt.Sprintf("%d %s", i, strings.Repeat("x", i*7))
			want = append(want, "a: "+text)
			if !a.say("b", text) {
				t.Fatalf("packet %d was not taken", i)
			}
		}
		b.say("a", "hello")
		synctest.Wait()
		if got := b.received(); !slices.Equal(got, want) {
			t.Errorf("b received %d packets, want %d, or in another order", len(got), len(want))
		}
		if got := a.received(); !slices.Equal(got, []string{"b: hello"}) {
			t.Errorf("a received %q", got)
		}
		s := a.peerStats(t, "b")
		if s.SentPackets != 500 || s.SentBytes == 0 || s.ReceivedPackets != 1 || s.State != "up" || s.Remote.Name != "node-b" {
			t.Errorf("stats of a: %+v", s)
		}
	})
}

// Goal: a packet waits for Flush, and for nothing more. Method: look before and after.
func TestNothingLeavesBeforeFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t, nil)
		writes := a.peerStats(t, "b").SentWrites
		for range 3 {
			a.Send(2, aMessage())
		}
		synctest.Wait()
		if got := len(b.received()); got != 0 {
			t.Errorf("%d packets arrived before Flush", got)
		}
		a.Flush()
		synctest.Wait()
		if got := len(b.received()); got != 3 {
			t.Errorf("%d packets arrived after Flush", got)
		}
		if got := a.peerStats(t, "b").SentWrites - writes; got != 1 {
			t.Errorf("%d writes for one Flush", got)
		}
	})
}

// Goal: the death of a process is told at once as a reset, once, and its return within
// 100 ms (T6). Method: kill a node in both ways the kernel ends its connections.
func TestDeathIsAResetAndReturnIsFast(t *testing.T) {
	for _, how := range []error{io.EOF, syscall.ECONNRESET} {
		t.Run(how.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, a, b := pair(t, nil)
				time.Sleep(10 * time.Second) // the connection has stood for long
				b.die(n, how)
				synctest.Wait()
				wantReset(t, a)
				if a.say("b", "into the void") {
					t.Error("a packet to a dead peer was taken")
				}
				time.Sleep(3 * time.Second)
				wantEvents(t, a, "")
				b2 := start(t, n, "b", nil)
				defer b2.Close()
				b2.SetPeers(peersOf("a", "b"))
				died := time.Now()
				for a.peerStats(t, "b").State != "up" && time.Since(died) < time.Second {
					time.Sleep(time.Millisecond)
				}
				if took := time.Since(died); took > 100*time.Millisecond {
					t.Errorf("the restarted peer was reachable after %v", took)
				}
				wantEvents(t, a, "up b")
				wantEvents(t, b2, "up a")
			})
		})
	}
}

// wantReset expects the news of b's death: the loss of the connection to it may be
// noticed, and told, before that of the connection from it.
func wantReset(t *testing.T, a *testNode) {
	t.Helper()
	if got := a.take(); got != "reset b" && got != "down b, reset b" {
		t.Errorf("events of %s: %q", a.name, got)
	}
}

// Goal: a process that restarts faster than its end is noticed still counts as restarted.
// Method: its new connection arrives while the old one has not ended.
func TestRestartBehindTheBackIsAReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b := pair(t, nil)
		n.setCut("b", "a", true) // the end of b's connections does not arrive
		b.Close()
		b2 := start(t, n, "b", func(c *Config) { c.Seed = 0 }) // drawn
		defer b2.Close()
		n.setCut("b", "a", false)
		n.mu.Lock()
		for _, c := range n.conns {
			c.ended = nil // and never will
		}
		n.mu.Unlock()
		b2.SetPeers(peersOf("a", "b"))
		time.Sleep(100 * time.Millisecond)
		got := a.take()
		if got != "reset b, up b" {
			t.Errorf("events of a: %q", got)
		}
	})
}

// Goal: a dead peer costs little. Method: count the attempts of an hour.
func TestADeadPeerCostsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNetwork()
		lines := &logLines{}
		a := start(t, n, "a", func(c *Config) { c.Logger = slogOf(lines) })
		defer a.Close()
		a.SetPeers(peersOf("a", "b"))
		time.Sleep(time.Hour)
		wantEvents(t, a, "down b")
		if got := n.dialCount("a", "b"); got < 3600 || got > 4*3600 {
			t.Errorf("%d attempts in an hour", got)
		}
		if got := len(lines.matching("peer=2")); got < 50 || got > 61 {
			t.Errorf("%d log lines in an hour", got)
		}
		if s := a.peerStats(t, "b"); !strings.Contains(s.Problem, "refused") || s.Refused || s.DialFailures == 0 {
			t.Errorf("stats: %+v", s)
		}
	})
}

// Goal: a peer that is cut off is told as unreachable, not as reset, within IdleTimeout,
// and found again soon (T6). Method: cut each direction and both.
func TestSilenceIsUnreachable(t *testing.T) {
	for name, cuts := range map[string][][2]string{
		"from": {{"b", "a"}}, "to": {{"a", "b"}}, "both": {{"a", "b"}, {"b", "a"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, a, b := pair(t, nil)
				for _, c := range cuts {
					n.setCut(c[0], c[1], true)
				}
				time.Sleep(6 * time.Second) // IdleTimeout is 1 s; a lost echo shows after 5 s
				for _, node := range []*testNode{a, b} {
					if got := node.take(); !strings.HasPrefix(got, "down ") || strings.Contains(got, "reset") {
						t.Errorf("%s, cut %v: events of %s: %q", name, cuts, node.name, got)
					}
				}
				for _, c := range cuts {
					n.setCut(c[0], c[1], false)
				}
				time.Sleep(2 * time.Second)
				for _, node := range []*testNode{a, b} {
					if s := node.Stats().Peers[0]; s.State != "up" || !s.ToPeer || !s.FromPeer {
						t.Errorf("%s after healing: %+v", node.name, s)
					}
				}
			})
		})
	}
}

// Goal: an idle connection stays. Method: a day without a packet.
func TestIdleConnectionsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t, func(c *Config) { c.Limits.KeepaliveInterval = time.Minute })
		time.Sleep(24 * time.Hour)
		wantEvents(t, a, "")
		wantEvents(t, b, "")
		if s := a.peerStats(t, "b"); s.Connects != 1 || s.SentWrites > 24*60+10 {
			t.Errorf("stats: %+v", s)
		}
	})
}

// Goal: a receiver that does not read holds up no other, fills its own buffer and nothing
// else, and is disconnected in the end (T2). Method: one of two peers blocks in Deliver.
func TestSlowReceiverHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNetwork()
		const pending = 1 << 20
		small := func(c *Config) { c.Limits.PendingBytes = pending }
		a, b, c := start(t, n, "a", small), start(t, n, "b", nil), start(t, n, "c", nil)
		release := make(chan struct{})
		c.deliver = func(NodeID, []Packet) { <-release }
		for _, node := range []*testNode{a, b, c} {
			defer node.Close()
			node.SetPeers(peersOf("a", "b", "c"))
		}
		defer close(release)
		synctest.Wait()
		body := strings.Repeat("x", 10_000)
		taken := 0
		for i := range 1000 {
			if a.say("c", body) {
				taken++
			}
			synctest.Wait() // b has all the time it needs; c never takes anything
			if !a.say("b", fmt.Sprint(i)) {
				t.Fatalf("packet %d to the fast peer was refused", i)
			}
			if q := a.peerStats(t, "c").QueuedBytes; q > pending {
				t.Fatalf("%d bytes wait for the slow peer", q)
			}
		}
		synctest.Wait()
		if got := len(b.received()); got != 1000 {
			t.Errorf("the fast peer received %d of 1000", got)
		}
		s := a.peerStats(t, "c")
		if taken == 1000 || s.DroppedFull != uint64(1000-taken) {
			t.Errorf("%d of 1000 taken, stats %+v", taken, s)
		}
		time.Sleep(6 * time.Second)
		if s := a.peerStats(t, "c"); s.DroppedDown == 0 {
			t.Errorf("the stuck connection was not given up: %+v", s)
		}
	})
}

// Goal: what no frame can hold is refused and said. Method: one packet above FrameBytes.
func TestPacketAboveFrameBytesIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, _ := pair(t, func(c *Config) { c.Limits.FrameBytes = 1 << 20 })
		if a.say("b", strings.Repeat("x", 1<<20)) {
			t.Error("taken")
		}
		if s := a.peerStats(t, "b"); s.DroppedTooLarge != 1 || !strings.Contains(s.Problem, "limit 1048576") {
			t.Errorf("stats: %+v", s)
		}
		if !a.say("b", strings.Repeat("x", 1<<20-packetOverheadBytes)) {
			t.Error("the largest packet was refused")
		}
		if a.Send(9, aMessage()) || a.Stats().UnknownPeer != 1 {
			t.Error("a packet to an unknown peer was taken or not counted")
		}
	})
}

// Goal: SetPeers closes what left, keeps what stayed, and follows a new address.
func TestSetPeersFollowsTheMembership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNetwork()
		a, b, c := start(t, n, "a", nil), start(t, n, "b", nil), start(t, n, "c", nil)
		for _, node := range []*testNode{a, b, c} {
			defer node.Close()
			node.SetPeers(peersOf("a", "b", "c"))
		}
		synctest.Wait()
		a.take()
		c.take()

		b.SetPeers(peersOf("b", "c")) // a leaves b's set: both of their connections end
		synctest.Wait()
		if got := a.peerStats(t, "b"); got.State == "unknown" {
			t.Errorf("stats: %+v", got)
		}
		if s := b.Stats(); len(s.Peers) != 1 || s.Peers[0].Connects != 1 {
			t.Errorf("the connection to the peer that stayed was touched: %+v", s)
		}
		wantEvents(t, c, "")

		moved, err := n.host("c").Listen(t.Context(), "c:2")
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = c.Serve(moved) }() // ends with Close
		peers := peersOf("a", "b", "c")
		peers[2].Addr = "c:2"
		a.SetPeers(peers)
		synctest.Wait()
		time.Sleep(time.Second)
		if s := a.peerStats(t, "c"); s.Addr != "c:2" || s.State != "up" || s.Connects != 2 {
			t.Errorf("after the move: %+v", s)
		}
		if got := c.take(); strings.Contains(got, "reset") {
			t.Errorf("c took a change of its address for a death of a: %q", got)
		}
	})
}

// Goal: Close looks like the end of the process to peers, ends every goroutine (the
// bubble would not end otherwise), and may be repeated.
func TestCloseEndsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t, nil)
		b.Close()
		b.Close()
		synctest.Wait()
		if b.serve != nil {
			t.Errorf("Serve returned %v", b.serve)
		}
		wantReset(t, a)
		wantEvents(t, b, "")
		b.SetPeers(peersOf("a"))
		if b.say("a", "x") {
			t.Error("a closed transport took a packet")
		}
		if err := b.Serve(nopListener{}); !errors.Is(err, ErrClosed) {
			t.Errorf("Serve after Close: %v", err)
		}
		if _, err := b.Transport.Probe(t.Context(), "a:1"); !errors.Is(err, ErrClosed) {
			t.Errorf("Probe after Close: %v", err)
		}
	})
}

// Goal: a connection that keeps breaking right after the handshake is retried ever more
// slowly. Method: a peer that sends nonsense on what it accepts.
func TestFlappingPeerIsRetriedSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNetwork()
		a, b := start(t, n, "a", nil), start(t, n, "b", nil)
		defer a.Close()
		defer b.Close()
		n.damage = func(from, to string, bytes []byte) {
			if len(bytes) == frameHeaderBytes+stampBytes {
				bytes[0] ^= 1 // keepalives and echoes
			}
		}
		a.SetPeers(peersOf("b"))
		time.Sleep(time.Minute)
		if got := n.dialCount("a", "b"); got > 4*60 {
			t.Errorf("%d attempts in a minute", got)
		}
	})
}

// Goal: the estimate follows the measurements and ignores stamps that are not ours.
func TestRTTEstimate(t *testing.T) {
	c := &peerCounters{}
	for _, d := range []time.Duration{-time.Hour, 8 * time.Millisecond, 16 * time.Millisecond, -1} {
		c.observeRTT(d)
	}
	if got := time.Duration(c.rtt.Load()); got != 9*time.Millisecond {
		t.Errorf("RTT %v", got)
	}
}

// Goal: log lines stay rare, and nothing new is hidden. Method: equal and different lines
// within and across intervals.
func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := env.SystemClock()
		l := limiter{burst: 2}
		for i, c := range []struct {
			text string
			ok   bool
			held int
		}{{"a", true, 0}, {"a", false, 0}, {"b", true, 1}, {"c", false, 0}, {"d", false, 0}} {
			if held, ok := l.allow(clock, c.text); ok != c.ok || held != c.held {
				t.Errorf("line %d, %q: %d held, %v", i, c.text, held, ok)
			}
		}
		time.Sleep(limiterInterval)
		if held, ok := l.allow(clock, "b"); !ok || held != 2 {
			t.Errorf("after an interval: %d held, %v", held, ok)
		}
	})
}
