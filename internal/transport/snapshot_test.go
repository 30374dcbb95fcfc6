package transport

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate/consensus"
)

func aHeader(group consensus.GroupID) SnapshotHeader {
	m := samples()[4].packet.Message
	m.Group = group
	return SnapshotHeader{Message: m, Format: 3, Bytes: 77, Body: []byte("driver's words")}
}

// state is n pseudo-random bytes.
func state(n int) []byte {
	b := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{byte(n)})
	_, _ = rng.Read(b)
	return b
}

// write writes a state in pieces of many sizes.
func write(state []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		for piece := 1; len(state) > 0; piece = piece*3 + 1 {
			n := min(len(state), piece)
			if _, err := w.Write(state[:n]); err != nil {
				return err
			}
			state = state[n:]
		}
		return nil
	}
}

// Goal: a state arrives whole with its header, and the sender hears of it. Method: sizes
// around the chunk's.
func TestSnapshotArrives(t *testing.T) {
	for _, size := range []int{0, 1, snapshotChunkBytes - 1, snapshotChunkBytes, snapshotChunkBytes + 1, 5*snapshotChunkBytes + 7} {
		synctest.Test(t, func(t *testing.T) {
			_, a, b := pair(t, nil)
			want := state(size)
			b.snapshot = func(from NodeID, h SnapshotHeader, r io.Reader) error {
				if diff := cmp.Diff(aHeader(5), h); diff != "" || from != 1 {
					t.Errorf("header from %v differs:\n%s", from, diff)
				}
				got, err := io.ReadAll(r)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("received %d of %d bytes, or others, %v", len(got), size, err)
				}
				return err
			}
			if err := a.SendSnapshot(t.Context(), 2, aHeader(5), write(want)); err != nil {
				t.Errorf("%d bytes: %v", size, err)
			}
			synctest.Wait()
			if sent, received := a.Stats(), b.Stats(); sent.SnapshotsSent != 1 || received.SnapshotsReceived != 1 ||
				received.SnapshotBytesReceived == 0 || received.SnapshotsReceiving != 0 || received.Inbound != 1 {
				t.Errorf("sender %+v\nreceiver %+v", sent, received)
			}
			wantEvents(t, a, "")
			wantEvents(t, b, "")
		})
	}
}

// Goal: whatever happens to a stream on its way, the receiver never sees the end of a
// state that is not whole (T7), and the sender never success. Method: a bit flipped in
// every part of the stream, and the stream cut after every part.
func TestDamagedSnapshotIsNeverComplete(t *testing.T) {
	want := state(2*snapshotChunkBytes + 1000)
	run := func(t *testing.T, damage func(at int, b []byte)) (complete bool, err error) {
		n, a, b := pair(t, nil)
		b.snapshot = func(_ NodeID, _ SnapshotHeader, r io.Reader) error {
			got, err := io.ReadAll(r)
			complete = err == nil
			if complete && !bytes.Equal(got, want) {
				t.Error("another state was taken for complete")
			}
			return err
		}
		seen := 0
		n.damage = func(from, _ string, bytes []byte) {
			if from == "a" && len(bytes) > stampBytes+frameHeaderBytes { // not keepalives
				damage(seen, bytes)
				seen += len(bytes)
			}
		}
		return complete, a.SendSnapshot(t.Context(), 2, aHeader(5), write(want))
	}
	total := 0
	synctest.Test(t, func(t *testing.T) {
		if _, err := run(t, func(at int, b []byte) { total = at + len(b) }); err != nil {
			t.Fatal(err)
		}
	})
	for at := 0; at < total; at += 1 + total/150 {
		synctest.Test(t, func(t *testing.T) {
			complete, err := run(t, func(begin int, b []byte) {
				if begin <= at && at < begin+len(b) {
					b[at-begin] ^= 0x40
				}
			})
			if complete || err == nil {
				t.Errorf("bit flipped at %d of %d: complete %v, sender %v", at, total, complete, err)
			}
		})
	}
}

// Goal: frames that are whole but in the wrong place are noticed. Method: write a stream
// by hand, with one mistake each.
func TestSnapshotFramesOutOfPlace(t *testing.T) {
	chunk := func(offset uint64, data string) []byte {
		b := beginFrame(nil, frameSnapshotChunk)
		for i := range 8 {
			b = append(b, byte(offset>>(8*i)))
		}
		b = append(b, data...)
		sealFrame(b)
		return b
	}
	end := func(data string) []byte {
		s := newStreamSum()
		s.add([]byte(data))
		b := beginFrame(nil, frameSnapshotEnd)
		for _, v := range []uint64{s.bytes, s.hash.Sum64()} {
			for i := range 8 {
				b = append(b, byte(v>>(8*i)))
			}
		}
		sealFrame(b)
		return b
	}
	for name, c := range map[string]struct {
		frames [][]byte
		want   string // empty: complete
	}{
		"good":            {[][]byte{chunk(0, "ab"), chunk(2, "c"), end("abc")}, ""},
		"empty":           {[][]byte{end("")}, ""},
		"missing chunk":   {[][]byte{chunk(0, "ab"), chunk(3, "d"), end("abcd")}, "offset 3, expected offset 2"},
		"doubled chunk":   {[][]byte{chunk(0, "ab"), chunk(0, "ab"), end("ab")}, "offset 0, expected offset 2"},
		"missing tail":    {[][]byte{chunk(0, "ab"), end("abc")}, "ends at 3 bytes"},
		"another's end":   {[][]byte{chunk(0, "abc"), end("abd")}, "ends at 3 bytes"},
		"no end":          {[][]byte{chunk(0, "abc")}, "cut after 3 bytes"},
		"empty chunk":     {[][]byte{chunk(0, "")}, "chunk of 8 bytes"},
		"aborted":         {[][]byte{chunk(0, "abc"), appendFrame(nil, frameSnapshotAbort, []byte("no more"))}, "aborted by its sender: no more"},
		"another's frame": {[][]byte{ping()}, "frame of kind 2"},
	} {
		r := &snapshotReader{
			t: &Transport{}, sum: newStreamSum(),
			frames: bufio.NewReader(bytes.NewReader(bytes.Join(c.frames, nil))),
		}
		_, err := io.ReadAll(r)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if _, again := r.Read(make([]byte, 1)); again != r.err {
			t.Errorf("%s: the end is not latched: %v", name, again)
		}
	}
}

// failure is a stream that one side ends.
type failure struct {
	name     string
	snapshot func(NodeID, SnapshotHeader, io.Reader) error // nil: read all
	write    func(io.Writer) error
	wantIs   error
	want     string
	received string // what the handler's read ended with
}

// Goal: each side's failure reaches the other in words, and at once.
func TestSnapshotFailuresAreTold(t *testing.T) {
	big := state(64 * snapshotChunkBytes)
	noSpace := errors.New("no space left for a snapshot")
	broken := errors.New("engine closed")
	for _, c := range []failure{
		{
			name:     "refused before the first byte",
			snapshot: func(NodeID, SnapshotHeader, io.Reader) error { return noSpace },
			write:    write(big), wantIs: ErrSnapshotFailed,
			want: "send snapshot of group 5 at index 5000 to node 2: snapshot not installed by its receiver: no space left for a snapshot",
		}, {
			name: "refused in the middle",
			snapshot: func(_ NodeID, _ SnapshotHeader, r io.Reader) error {
				_, _ = io.CopyN(io.Discard, r, 1<<20)
				return noSpace
			},
			write: write(big), wantIs: ErrSnapshotFailed, want: noSpace.Error(),
		}, {
			name: "refused after the last byte",
			snapshot: func(_ NodeID, _ SnapshotHeader, r io.Reader) error {
				_, _ = io.Copy(io.Discard, r)
				return noSpace
			},
			write: write(big), wantIs: ErrSnapshotFailed, want: noSpace.Error(),
		}, {
			name:     "taken without reading it",
			snapshot: func(NodeID, SnapshotHeader, io.Reader) error { return nil },
			write:    write(big), wantIs: ErrSnapshotFailed, want: ErrSnapshotUnread.Error(),
		}, {
			name: "the sender's own error",
			write: func(w io.Writer) error {
				_, _ = w.Write(big[:1<<20])
				return broken
			},
			wantIs: broken, want: broken.Error(), received: "aborted by its sender: engine closed",
		}, {
			name: "the sender hides a broken write",
			snapshot: func(NodeID, SnapshotHeader, io.Reader) error {
				return noSpace
			},
			write:  func(w io.Writer) error { _, _ = w.Write(big); return nil },
			wantIs: ErrSnapshotFailed, want: noSpace.Error(),
		},
	} {
		t.Run(c.name, func(t *testing.T) { synctest.Test(t, c.run) })
	}
}

func (c failure) run(t *testing.T) {
	_, a, b := pair(t, nil)
	var received error
	b.snapshot = func(from NodeID, h SnapshotHeader, r io.Reader) error {
		if c.snapshot != nil {
			return c.snapshot(from, h, r)
		}
		_, received = io.ReadAll(r)
		return received
	}
	began := time.Now()
	err := a.SendSnapshot(t.Context(), 2, aHeader(5), c.write)
	if !errors.Is(err, c.wantIs) || !strings.Contains(err.Error(), c.want) {
		t.Errorf("sender: %v", err)
	}
	if took := time.Since(began); took != 0 {
		t.Errorf("it took %v to know", took)
	}
	synctest.Wait()
	if c.received != "" && (received == nil || !strings.Contains(received.Error(), c.received)) {
		t.Errorf("receiver: %v", received)
	}
	if s := b.Stats(); a.Stats().SnapshotsFailed != 1 || s.SnapshotsFailed != 1 {
		t.Errorf("stats: %+v", s)
	}
	time.Sleep(2 * lingerTimeout)
	if s := b.Stats(); s.Inbound != 1 || s.SnapshotsReceiving != 0 {
		t.Errorf("stats after a while: %+v", s)
	}
	wantEvents(t, b, "")
}

// Goal: an install may take longer than SnapshotIdleTimeout; a stalled sender, receiver or
// link may not.
func TestSnapshotPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t, nil)
		b.snapshot = func(_ NodeID, _ SnapshotHeader, r io.Reader) error {
			time.Sleep(10 * time.Minute) // while the sender waits to write
			_, err := io.Copy(io.Discard, r)
			time.Sleep(10 * time.Minute) // while the sender waits for the verdict
			return err
		}
		if err := a.SendSnapshot(t.Context(), 2, aHeader(5), write(state(1<<20))); err != nil {
			t.Errorf("slow install: %v", err)
		}
		var received error
		b.snapshot = func(_ NodeID, _ SnapshotHeader, r io.Reader) error {
			_, received = io.Copy(io.Discard, r)
			return received
		}
		err := a.SendSnapshot(t.Context(), 2, aHeader(5), func(w io.Writer) error {
			time.Sleep(10 * time.Minute)
			return nil
		})
		if err == nil || !errors.Is(received, os.ErrDeadlineExceeded) {
			t.Errorf("stalled sender: %v, receiver %v", err, received)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		n, a, b := pair(t, nil)
		b.snapshot = func(_ NodeID, _ SnapshotHeader, r io.Reader) error {
			_, err := io.Copy(io.Discard, r)
			return err
		}
		began := time.Now()
		err := a.SendSnapshot(t.Context(), 2, aHeader(5), func(w io.Writer) error {
			n.setCut("a", "b", true)
			n.setCut("b", "a", true)
			_, err := w.Write(state(1 << 20))
			return err
		})
		if took := time.Since(began); err == nil || took > 31*time.Second {
			t.Errorf("cut link: %v after %v", err, took)
		}
		n.setCut("a", "b", false)
		n.setCut("b", "a", false)
	})
}

// Goal: a stream ends with its context, with Close on either side, and with the peer's
// place in the set.
func TestSnapshotIsCancelled(t *testing.T) {
	reason := errors.New("no longer wanted")
	for name, c := range map[string]struct {
		cancel func(a, b *testNode, cancel context.CancelCauseFunc)
		want   error
	}{
		"context":  {func(_, _ *testNode, cancel context.CancelCauseFunc) { cancel(reason) }, reason},
		"close":    {func(a, _ *testNode, _ context.CancelCauseFunc) { a.Close() }, ErrClosed},
		"set":      {func(a, _ *testNode, _ context.CancelCauseFunc) { a.SetPeers(nil) }, errRemoved},
		"receiver": {func(_, b *testNode, _ context.CancelCauseFunc) { b.Close() }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, a, b := pair(t, nil)
				var received error
				b.snapshot = func(_ NodeID, _ SnapshotHeader, r io.Reader) error {
					_, received = io.Copy(io.Discard, r)
					return received
				}
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				err := a.SendSnapshot(ctx, 2, aHeader(5), func(w io.Writer) error {
					_, _ = w.Write(state(1 << 20))
					c.cancel(a, b, cancel)
					synctest.Wait()
					_, err := w.Write(state(1 << 20))
					return err
				})
				synctest.Wait()
				if err == nil || c.want != nil && !errors.Is(err, c.want) || received == nil {
					t.Errorf("sender %v, receiver %v", err, received)
				}
			})
		})
	}
}

// Goal: streams are bounded: one at a time to a peer, SnapshotsOut in total, SnapshotsIn at
// a receiver, which says that it is busy.
func TestSnapshotsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNetwork()
		names := []string{"a", "b", "c", "d"}
		var nodes []*testNode
		for _, name := range names {
			node := start(t, n, name, func(c *Config) { c.Limits.SnapshotsIn = 1 })
			node.snapshot = func(_ NodeID, _ SnapshotHeader, r io.Reader) error {
				time.Sleep(time.Second)
				_, err := io.Copy(io.Discard, r)
				return err
			}
			defer node.Close()
			node.SetPeers(peersOf(names...))
			nodes = append(nodes, node)
		}
		synctest.Wait()
		began := time.Now()
		results := make(chan string, 6)
		send := func(from *testNode, to NodeID) {
			err := from.SendSnapshot(t.Context(), to, aHeader(5), write(state(1000)))
			results <- fmt.Sprintf("%v %v", time.Since(began).Round(time.Second), err)
		}
		for range 2 {
			for to := NodeID(2); to <= 4; to++ {
				go send(nodes[0], to)
			}
		}
		var last string
		for range 6 {
			last = <-results
			if !strings.HasSuffix(last, "<nil>") {
				t.Error(last)
			}
		}
		if last != "3s <nil>" {
			t.Errorf("six streams of a second, two at a time: the last ended with %q", last)
		}
		go send(nodes[0], 2)
		synctest.Wait()
		err := nodes[2].SendSnapshot(t.Context(), 2, aHeader(5), write(state(1000)))
		if !errors.Is(err, ErrSnapshotFailed) || !strings.Contains(err.Error(), "busy: 1 snapshots") {
			t.Errorf("a second sender: %v", err)
		}
		<-results
	})
}

// Goal: bad calls are answered without a connection.
func TestSnapshotCallsThatCannotWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, _ := pair(t, nil)
		if err := a.SendSnapshot(t.Context(), 9, aHeader(5), nil); !errors.Is(err, ErrUnknownPeer) {
			t.Errorf("unknown peer: %v", err)
		}
		h := aHeader(5)
		h.Body = make([]byte, maxSnapshotBodyBytes+1)
		if err := a.SendSnapshot(t.Context(), 2, h, nil); !errors.Is(err, ErrTooLarge) {
			t.Errorf("large header: %v", err)
		}
		c, _ := rawHello(t, n, "a", "b", PurposeSnapshot)
		_, _ = c.Write(ping())
		kind, payload, err := readFrame(bufio.NewReader(c), 2000, nil)
		v, _ := decodeSnapshotVerdict(payload)
		if err != nil || kind != frameSnapshotVerdict || v.installed || !strings.Contains(v.text, "frame of kind 2 opens a snapshot") {
			t.Errorf("a stream without a header: %v %+v %v", kind, v, err)
		}
	})
}
