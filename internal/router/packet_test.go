package router

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func samplePackets() []packet {
	return []packet{
		{Kind: packetPropose, Shard: 2, ID: 1 << 40, Epoch: 7, Data: []byte("command")},
		{Kind: packetRefused, Shard: 1, ID: 3, Epoch: 9, Code: codeTooMany},
		{Kind: packetRead, Shard: 300, ID: 12},
		{Kind: packetReadReply, Shard: 300, ID: 12, Index: 99, Code: codeOK},
		{Kind: packetLease, Shard: 2, ID: 5, Lease: -77, Renew: true},
		{Kind: packetLeaseDone, Shard: 2, ID: 5, TTL: 60, Remaining: 12, Code: codeNotFound},
	}
}

// Goal: what one router encodes the other reads, field by field.
func TestPacketRoundTrip(t *testing.T) {
	for _, p := range samplePackets() {
		got, err := decodePacket(appendPacket(nil, &p))
		if err != nil {
			t.Fatalf("%+v: %v", p, err)
		}
		if len(got.Data) == 0 {
			got.Data = nil
		}
		if diff := cmp.Diff(p, got); diff != "" {
			t.Errorf("packet changed on the way (-sent +read):\n%s", diff)
		}
	}
}

// Goal: every truncation of a packet without data is refused, never misread.
func TestPacketTruncated(t *testing.T) {
	for _, p := range samplePackets()[1:] {
		whole := appendPacket(nil, &p)
		for n := range whole {
			if got, err := decodePacket(whole[:n]); err == nil {
				t.Errorf("%d of %d bytes read as %+v", n, len(whole), got)
			}
		}
	}
}

// The bytes of version 1: a change of this test is a change of the protocol.
func TestPacketGolden(t *testing.T) {
	p := packet{Kind: packetPropose, Shard: 2, ID: 300, Epoch: 7, Index: 1, Lease: -1, TTL: 5, Remaining: 4, Code: codeTooMany, Renew: true, Data: []byte("x")}
	want := []byte{1, 1, 2, 0xac, 2, 7, 1, 1, 5, 4, 2, 1, 'x'}
	if got := appendPacket(nil, &p); !bytes.Equal(got, want) {
		t.Errorf("encoded % x, want % x", got, want)
	}
}

func FuzzDecodePacket(f *testing.F) {
	for _, p := range samplePackets() {
		f.Add(appendPacket(nil, &p))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decodePacket(b)
		if err != nil {
			return
		}
		again, err := decodePacket(appendPacket(nil, &p))
		if err != nil {
			t.Fatalf("%+v does not survive a second trip: %v", p, err)
		}
		if diff := cmp.Diff(p, again); diff != "" {
			t.Fatal(diff)
		}
	})
}
