package transport

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Goal: what the writer takes out is what senders put in, in frames and sizes that keep
// the limits. Method: random sends and swaps against a list.
func TestOutboxKeepsOrderAndLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := Limits{
			FrameBytes: 4000, BatchBytes: rapid.IntRange(200, 4000).Draw(t, "batch"),
			PendingBytes: rapid.IntRange(500, 20_000).Draw(t, "pending"),
		}
		o := newOutbox(&l)
		o.setOpen(true)
		var want, got []string
		var b batch
		take := func() {
			b = o.swap(b)
			b.seal()
			r := bufio.NewReader(bytes.NewReader(b.buf))
			packets := uint64(0)
			for range b.frames {
				kind, payload, err := readFrame(r, l.FrameBytes, nil)
				if err != nil || kind != framePackets {
					t.Fatalf("frame of kind %d: %v", kind, err)
				}
				ps, err := DecodePackets(payload, nil)
				if err != nil || len(ps) == 0 || len(ps) > 1 && len(payload) > l.BatchBytes {
					t.Fatalf("%d packets in a frame of %d bytes: %v", len(ps), len(payload), err)
				}
				for i := range ps {
					got = append(got, string(ps[i].Body))
				}
				packets += uint64(len(ps))
			}
			if r.Buffered() > 0 || packets != b.packets {
				t.Fatalf("%d bytes behind the frames, %d packets counted, %d found", r.Buffered(), b.packets, packets)
			}
		}
		for i := range rapid.IntRange(0, 60).Draw(t, "sends") {
			body := fmt.Sprintf("%d %s", i, bytes.Repeat([]byte("x"), rapid.IntRange(0, 4500).Draw(t, "size")))
			switch r := o.add(&Packet{Kind: PacketForward, Body: []byte(body)}); r {
			case sendTaken:
				want = append(want, body)
			case sendTooLarge:
				if len(body) < l.FrameBytes-packetOverheadBytes-8 {
					t.Fatalf("%d bytes are too large", len(body))
				}
			case sendFull:
				if o.queuedBytes()+len(body) < l.PendingBytes-packetOverheadBytes-8 {
					t.Fatalf("full at %d bytes", o.queuedBytes())
				}
			case sendDown:
				t.Fatal("down")
			}
			if q := o.queuedBytes(); q > max(l.PendingBytes, l.FrameBytes)+frameHeaderBytes {
				t.Fatalf("%d bytes wait", q)
			}
			if rapid.IntRange(0, 5).Draw(t, "take") == 0 {
				take()
			}
		}
		take()
		if !slices.Equal(got, want) {
			t.Fatalf("%d packets came out, %d went in, or in another order", len(got), len(want))
		}
	})
}

// Goal: a closed outbox takes nothing, and closing says what is lost.
func TestOutboxClosed(t *testing.T) {
	l := Limits{}.withDefaults()
	o := newOutbox(&l)
	if got := o.add(aMessage()); got != sendDown {
		t.Errorf("add before open: %d", got)
	}
	o.setOpen(true)
	for range 3 {
		o.add(aMessage())
	}
	if lost := o.setOpen(false); lost != 3 || o.queuedBytes() != 0 {
		t.Errorf("%d lost, %d bytes left", lost, o.queuedBytes())
	}
}

// Goal: sending allocates nothing once the buffers have their size.
func TestSendingDoesNotAllocate(t *testing.T) {
	l := Limits{}.withDefaults()
	o := newOutbox(&l)
	o.setOpen(true)
	p := samples()[2].packet
	var b batch
	if allocs := testing.AllocsPerRun(1000, func() {
		for range 20 {
			o.add(&p)
		}
		b = o.swap(b)
		b.seal()
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
