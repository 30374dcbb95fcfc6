package transport

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// ping is a frame that makes a hand-made connection live.
func ping() []byte { return appendStamp(nil, framePing, 1) }

// Goal: a newer connection of a peer replaces the older one (T8), and one that never
// sends a frame replaces nothing. Method: connections made by hand.
func TestNewestConnectionWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNetwork()
		b := start(t, n, "b", nil)
		defer b.Close()
		b.SetPeers(peersOf("a"))
		first, _ := rawHello(t, n, "a", "b", PurposeMessages)
		_, _ = first.Write(ping())
		synctest.Wait()
		if s := b.Stats(); s.Inbound != 1 || s.Handshakes != 0 {
			t.Errorf("after the first: %+v", s)
		}
		// A dialler that gave up while b was stopped: b answers it much later.
		leftover, _ := rawHello(t, n, "a", "b", PurposeMessages)
		leftover.Close()
		synctest.Wait()
		wantEvents(t, b, "down a") // a has no listener
		if _, err := first.Write(appendFrame(nil, framePackets, AppendPacket(nil, aMessage()))); err != nil {
			t.Errorf("the live connection was closed: %v", err)
		}
		synctest.Wait()
		second, _ := rawHello(t, n, "a", "b", PurposeMessages)
		_, _ = second.Write(append(ping(), appendFrame(nil, framePackets, AppendPacket(nil, aMessage()))...))
		synctest.Wait()
		if _, err := io.Copy(io.Discard, first); err != nil {
			t.Errorf("the old connection ended with %v", err)
		}
		if s := b.Stats(); s.Inbound != 1 || len(b.received()) != 2 || !s.Peers[0].FromPeer {
			t.Errorf("after the second: %+v, %d packets", s, len(b.received()))
		}
		wantEvents(t, b, "")
		second.Close()
		synctest.Wait()
		wantEvents(t, b, "reset a")
	})
}

// Goal: idle connections neither keep peers out nor pile up (T9). Method: a thousand of
// them before and after a peer connects.
func TestFloodKeepsNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNetwork()
		a, b := start(t, n, "a", nil), start(t, n, "b", nil)
		defer a.Close()
		defer b.Close()
		flood := func() {
			for range 1000 {
				if _, err := n.host("x").Dial(t.Context(), "b:1"); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			if s := b.Stats(); s.Handshakes > 64 {
				t.Errorf("%d handshakes are open", s.Handshakes)
			}
		}
		flood()
		a.SetPeers(peersOf("b"))
		synctest.Wait()
		wantEvents(t, a, "up b")
		flood()
		wantEvents(t, a, "")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if s := b.Stats(); s.Handshakes != 0 || s.Evicted < 1800 || s.Inbound != 1 {
			t.Errorf("stats: %+v", s)
		}
	})
}

// Goal: the number of live connections is bounded. Method: Inbound is 2, three nodes come.
func TestInboundIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNetwork()
		b := start(t, n, "b", func(c *Config) { c.Limits.Inbound = 2 })
		defer b.Close()
		for i, name := range []string{"a", "c", "d"} {
			c, _ := rawHello(t, n, name, "b", PurposeMessages)
			defer c.Close()
			_, _ = c.Write(ping())
			synctest.Wait()
			if s := b.Stats(); s.Inbound != min(i+1, 2) {
				t.Errorf("after %s: %+v", name, s)
			}
		}
	})
}

// Goal: bytes that no peer sends end the connection, deliver nothing and allocate little
// (faults 28 and 52). Method: one kind of damage each.
func TestDamagedFramesEndTheConnection(t *testing.T) {
	good := appendFrame(nil, framePackets, AppendPacket(nil, aMessage()))
	flip := func(i int) []byte {
		b := bytes.Clone(good)
		b[i] ^= 0x10
		return b
	}
	huge := bytes.Clone(good)
	binary.LittleEndian.PutUint32(huge[frameLengthOffset:], 1<<32-1)
	for name, sent := range map[string][]byte{
		"checksum":         flip(0),
		"kind":             flip(frameKindOffset),
		"payload":          flip(len(good) - 1),
		"4 GiB":            huge,
		"unknown kind":     appendFrame(nil, 99, nil),
		"kind of others":   appendFrame(nil, frameEcho, make([]byte, 8)),
		"short keepalive":  appendFrame(nil, framePing, make([]byte, 7)),
		"malformed packet": appendFrame(nil, framePackets, make([]byte, 100)),
	} {
		synctest.Test(t, func(t *testing.T) {
			n := newMemNetwork()
			b := start(t, n, "b", nil)
			defer b.Close()
			b.SetPeers(peersOf("a"))
			c, _ := rawHello(t, n, "a", "b", PurposeMessages)
			_, _ = c.Write(ping())
			synctest.Wait()
			b.take()
			if got := allocated(func() { _, _ = c.Write(sent); synctest.Wait() }); got > 1<<20 {
				t.Errorf("%s: %d bytes allocated", name, got)
			}
			if _, err := io.Copy(io.Discard, c); err != nil {
				t.Errorf("%s: the connection ended with %v", name, err)
			}
			if s := b.Stats(); s.Malformed != 1 || s.Inbound != 0 || len(b.received()) != 0 {
				t.Errorf("%s: %+v, delivered %d", name, s, len(b.received()))
			}
		})
	}
}

// Goal: bit flips on the way never reach a handler (fault 28): what arrives is a prefix
// of what was sent on each connection. Method: random damage under real traffic.
func TestBitFlipsNeverArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNetwork()
		a, b := start(t, n, "a", nil), start(t, n, "b", nil)
		defer a.Close()
		defer b.Close()
		rng := rand.New(rand.NewPCG(1, 2))
		writes, flips := 0, 0
		n.damage = func(_, _ string, bytes []byte) {
			if writes++; writes%97 == 0 {
				bytes[rng.IntN(len(bytes))] ^= 1 << rng.IntN(8)
				flips++
			}
		}
		a.SetPeers(peersOf("b"))
		b.SetPeers(peersOf("a"))
		for i := range 2000 {
			a.say("b", fmt.Sprintf("%d %s", i, strings.Repeat("y", i%100)))
			time.Sleep(5 * time.Millisecond)
		}
		last := -1
		got := b.received()
		for _, text := range got {
			var i int
			var tail string
			if _, err := fmt.Sscanf(text, "a: %d %s", &i, &tail); (err != nil && i%100 != 0) || tail != strings.Repeat("y", i%100) || i <= last {
				t.Fatalf("received %q after %d: %v", text, last, err)
			}
			last = i
		}
		if flips < 5 || len(got) < 500 {
			t.Errorf("%d flips, %d of 2000 packets arrived", flips, len(got))
		}
	})
}

// Goal: a frame's length costs memory only as its bytes arrive. Method: claim 16 MiB, send
// little.
func TestReadFrameAllocatesWithWhatArrives(t *testing.T) {
	frame := appendFrame(nil, framePackets, make([]byte, 1<<20))
	binary.LittleEndian.PutUint32(frame[frameLengthOffset:], 16<<20)
	r := bufio.NewReader(bytes.NewReader(frame))
	got := allocated(func() {
		if _, _, err := readFrame(r, 16<<20, nil); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("read: %v", err)
		}
	})
	if got > 4<<20+unprovenBytes {
		t.Errorf("%d bytes allocated for 1 MiB", got)
	}
	whole := appendFrame(nil, framePackets, bytes.Repeat([]byte("0123456789"), 100_000))
	_, payload, err := readFrame(bufio.NewReader(bytes.NewReader(whole)), 16<<20, nil)
	if err != nil || !bytes.Equal(payload, whole[frameHeaderBytes:]) {
		t.Errorf("a large frame: %d bytes, %v", len(payload), err)
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add(append(ping(), appendFrame(nil, framePackets, AppendPacket(nil, aMessage()))...))
	f.Add(appendFrame(nil, frameBye, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bufio.NewReader(bytes.NewReader(b))
		consumed := 0
		for {
			kind, payload, err := readFrame(r, 1<<16, nil)
			if err != nil {
				return
			}
			again := appendFrame(nil, kind, payload)
			if !bytes.Equal(again, b[consumed:consumed+len(again)]) {
				t.Fatalf("a frame of kind %d does not survive its own encoding", kind)
			}
			consumed += len(again)
		}
	})
}

// faultyListener fails a few times, then works, then breaks.
type faultyListener struct {
	net.Listener
	errs []error
}

func (l *faultyListener) Accept() (net.Conn, error) {
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return nil, err
	}
	return l.Listener.Accept()
}

// Goal: Serve survives a shortage of file descriptors (fault 8) and returns what it cannot
// survive.
func TestServeSurvivesShortage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNetwork()
		a, b := start(t, n, "a", nil), start(t, n, "b", nil)
		defer a.Close()
		defer b.Close()
		for _, last := range []error{nil, syscall.EINVAL} {
			l, err := n.host("b").Listen(t.Context(), "b:2")
			if err != nil {
				t.Fatal(err)
			}
			f := &faultyListener{Listener: l, errs: []error{syscall.EMFILE, syscall.EMFILE, syscall.ECONNABORTED}}
			if last != nil {
				f.errs = append(f.errs, last)
				if err := b.Serve(f); !errors.Is(err, last) {
					t.Errorf("Serve returned %v", err)
				}
				return
			}
			go func() { _ = b.Serve(f) }()
			if _, err := a.Transport.Probe(t.Context(), "b:2"); err != nil {
				t.Errorf("probe: %v", err)
			}
			if got := b.Stats().AcceptErrors; got != 3 {
				t.Errorf("%d errors counted", got)
			}
			l.Close()
		}
	})
}
