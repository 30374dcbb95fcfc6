package transport

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/quorate/quorate/consensus"
)

var rewrite = flag.Bool("rewrite", false, "rewrite golden files; commit the change only if it is meant")

// samePacket ignores what does not travel: the Fill span, and nil against empty.
var samePacket = cmp.Options{
	cmpopts.EquateEmpty(),
	cmpopts.IgnoreFields(consensus.Message{}, "Fill"),
}

func entries(first, n int, size int) []consensus.Entry {
	es := make([]consensus.Entry, n)
	for i := range es {
		es[i] = consensus.Entry{
			Index: consensus.Index(first + i), Epoch: 7, Orig: 7, Kind: consensus.EntryCommand,
			Data: bytes.Repeat([]byte{byte(i + 1)}, size),
		}
	}
	return es
}

// samples cover every packet kind and every field.
func samples() []struct {
	name   string
	packet Packet
} {
	const a, b = consensus.ReplicaID(0xa1b2c3d4e5f6_0001), consensus.ReplicaID(0x010203040506_0002)
	mixed := entries(101, 3, 20)
	mixed[1].Kind, mixed[1].Data = consensus.EntryBarrier, nil
	mixed[2].Index, mixed[2].Epoch, mixed[2].Orig = 500, 9, 8
	return []struct {
		name   string
		packet Packet
	}{
		{"smallest message", Packet{Kind: PacketConsensus, Message: consensus.Message{Kind: 1, Group: 1, From: a, To: b}}},
		{"every scalar", Packet{Kind: PacketConsensus, Message: consensus.Message{
			Kind: 255, Group: 1 << 40, From: a, To: b, Epoch: 1 << 63, Index: 1000, IndexEpoch: 6, Commit: 990,
			Round: 77, Reject: true, Force: true, Hint: 900, HintEpoch: 5, Doubt: 1 << 60,
		}}},
		{"append", Packet{Kind: PacketConsensus, Message: consensus.Message{
			Kind: 3, Group: 2, From: a, To: b, Epoch: 7, Index: 100, IndexEpoch: 7, Commit: 99,
			Fill: consensus.Span{Lo: 101, Hi: 103}, Entries: entries(101, 2, 30),
		}}},
		{"entries that imply nothing", Packet{Kind: PacketConsensus, Message: consensus.Message{
			Kind: 3, Group: 2, From: a, To: b, Epoch: 7, Index: 100, Entries: mixed,
		}}},
		{"snapshot", Packet{Kind: PacketConsensus, Message: consensus.Message{
			Kind: 9, Group: 2, From: a, To: b, Epoch: 7,
			Snapshot: &consensus.Snapshot{Index: 5000, Epoch: 6, Configuration: consensus.Configuration{
				Membership: consensus.Membership{Voters: []consensus.ReplicaID{1, 2, a}, Learners: []consensus.ReplicaID{b}, WriteQuorum: 2},
				Outgoing:   []consensus.ReplicaID{1, 2, 3},
			}},
		}}},
		{"empty forward", Packet{Kind: PacketForward}},
		{"forward", Packet{Kind: PacketForward, Body: []byte("a request on its way to the leader, longer than the padding")}},
	}
}

// Goal: what is sent is what arrives. Method: every sample alone and all in one frame.
func TestPacketsRoundTrip(t *testing.T) {
	var frame []byte
	var want []Packet
	for _, s := range samples() {
		b := AppendPacket(nil, &s.packet)
		if len(b) > sizeBound(&s.packet) {
			t.Errorf("%s: %d bytes, above the bound of %d", s.name, len(b), sizeBound(&s.packet))
		}
		got, err := DecodePackets(b, nil)
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if diff := cmp.Diff([]Packet{s.packet}, got, samePacket); diff != "" {
			t.Errorf("%s: sent (-) and received (+) differ:\n%s", s.name, diff)
		}
		frame = append(frame, b...)
		want = append(want, s.packet)
	}
	got, err := DecodePackets(frame, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, samePacket); diff != "" {
		t.Errorf("sent (-) and received (+) differ:\n%s", diff)
	}
}

// Goal: the bytes on the wire do not change by accident. Method: a golden file that a
// later version must still decode.
func TestPacketBytesAreGolden(t *testing.T) {
	const file = "testdata/packets_v1.txt"
	var b strings.Builder
	for _, s := range samples() {
		fmt.Fprintf(&b, "# %s\n%s\n", s.name, hex.Dump(AppendPacket(nil, &s.packet)))
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("golden (-) and encoded (+) differ:\n%s", diff)
	}
}

// Goal: T4's arithmetic holds. Method: compare the smallest wire sizes with the sizes in memory,
// with an eighth to spare for the allocator's size classes.
func TestSmallestSizesPayForMemory(t *testing.T) {
	for _, c := range []struct {
		what         string
		memory, wire int
	}{
		{"packet", int(unsafe.Sizeof(Packet{})), minPacketBytes},
		{"entry", int(unsafe.Sizeof(consensus.Entry{})), minEntryBytes},
		{"snapshot", int(unsafe.Sizeof(consensus.Snapshot{})), snapshotOverheadBytes},
		{"replica id", int(unsafe.Sizeof(consensus.ReplicaID(0))), replicaIDOnWireBytes},
	} {
		if c.memory*9/8 > 4*c.wire {
			t.Errorf("a %s of %d bytes in memory may be %d bytes on the wire", c.what, c.memory, c.wire)
		}
	}
}

// Goal: random packets survive the wire. Method: property over every field.
func TestRandomPacketsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Custom(drawPacket), 0, 8).Draw(t, "packets")
		var frame []byte
		for i := range want {
			before := len(frame)
			frame = AppendPacket(frame, &want[i])
			if n := len(frame) - before; n > sizeBound(&want[i]) {
				t.Fatalf("packet %d takes %d bytes, bound %d", i, n, sizeBound(&want[i]))
			}
		}
		got, err := DecodePackets(frame, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, samePacket); diff != "" {
			t.Fatal(diff)
		}
	})
}

func drawPacket(t *rapid.T) Packet {
	// Numbers of every magnitude: uniform 64 bits would never try the short encodings.
	number := rapid.Custom(func(t *rapid.T) uint64 {
		return rapid.Uint64().Draw(t, "bits") >> rapid.UintRange(0, 63).Draw(t, "shift")
	})
	body := rapid.SliceOfN(rapid.Byte(), 0, 80)
	if rapid.IntRange(0, 3).Draw(t, "kind") == 0 {
		return Packet{Kind: PacketForward, Body: body.Draw(t, "body")}
	}
	n := func(label string) uint64 { return number.Draw(t, label) }
	m := consensus.Message{
		Kind:  consensus.MessageKind(rapid.ByteRange(1, 255).Draw(t, "message kind")),
		Group: consensus.GroupID(n("group")), From: consensus.ReplicaID(n("from")), To: consensus.ReplicaID(n("to")),
		Epoch: consensus.Epoch(n("epoch")), Index: consensus.Index(n("index")), IndexEpoch: consensus.Epoch(n("index epoch")),
		Commit: consensus.Index(n("commit")), Round: n("round"),
		Reject: rapid.Bool().Draw(t, "reject"), Force: rapid.Bool().Draw(t, "force"),
		Hint: consensus.Index(n("hint")), HintEpoch: consensus.Epoch(n("hint epoch")),
		Doubt: n("doubt"),
	}
	m.Entries = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) consensus.Entry {
		return consensus.Entry{
			Index: consensus.Index(number.Draw(t, "entry index")), Epoch: consensus.Epoch(number.Draw(t, "entry epoch")),
			Orig: consensus.Epoch(number.Draw(t, "orig")), Kind: consensus.EntryKind(rapid.Byte().Draw(t, "entry kind")),
			Data: body.Draw(t, "data"),
		}
	}), 0, 6).Draw(t, "entries")
	if rapid.Bool().Draw(t, "with snapshot") {
		ids := rapid.SliceOfN(rapid.Map(number, func(v uint64) consensus.ReplicaID { return consensus.ReplicaID(v) }), 0, 5)
		s := &consensus.Snapshot{Index: consensus.Index(n("snapshot index")), Epoch: consensus.Epoch(n("snapshot epoch"))}
		s.Configuration.Voters, s.Configuration.Outgoing = ids.Draw(t, "voters"), ids.Draw(t, "outgoing")
		s.Configuration.Learners = ids.Draw(t, "learners")
		s.Configuration.WriteQuorum = rapid.IntRange(0, 7).Draw(t, "write quorum")
		s.Configuration.OutgoingWrite = rapid.IntRange(0, 7).Draw(t, "outgoing write quorum")
		s.Configuration.Begun = consensus.Index(n("begun"))
		m.Snapshot = s
	}
	return Packet{Kind: PacketConsensus, Message: m}
}

// Goal: damage is an error, never a panic. Method: every truncation and every
// single-byte change of a frame with all samples.
func TestDamagedPacketsAreErrorsOrPackets(t *testing.T) {
	var frame []byte
	for _, s := range samples() {
		frame = AppendPacket(frame, &s.packet)
	}
	boundary := map[int]bool{}
	for i, rest := 0, frame; len(rest) > 0; {
		boundary[i] = true
		n := int(rest[0]) | int(rest[1])<<8
		i, rest = i+4+n, rest[4+n:]
	}
	for n := range frame {
		if _, err := DecodePackets(frame[:n], nil); (err == nil) != boundary[n] {
			t.Fatalf("cut at %d of %d: %v", n, len(frame), err)
		}
	}
	for i := range frame {
		for bit := range 8 {
			damaged := bytes.Clone(frame)
			damaged[i] ^= 1 << bit
			if _, err := DecodePackets(damaged, nil); err != nil && !errors.Is(err, ErrMalformed) {
				t.Fatalf("bit %d of byte %d: %v", bit, i, err)
			}
		}
	}
}

// Goal: encoding costs no allocation once the buffer has its size.
func TestEncodingDoesNotAllocate(t *testing.T) {
	buf := make([]byte, 0, 1<<16)
	packets := samples()
	allocs := testing.AllocsPerRun(100, func() {
		b := buf
		for i := range packets {
			b = AppendPacket(b, &packets[i].packet)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// Goal: a mistake of the caller is loud (C5). Method: each must panic.
func TestEncodingRefusesBrokenPackets(t *testing.T) {
	for name, p := range map[string]Packet{
		"no kind":         {},
		"unknown kind":    {Kind: 9},
		"no message kind": {Kind: PacketConsensus},
		"not filled":      {Kind: PacketConsensus, Message: consensus.Message{Kind: 1, Fill: consensus.Span{Lo: 1, Hi: 2}}},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("encoded without a complaint")
				}
			}()
			AppendPacket(nil, &p)
		})
	}
}

// allocated returns the bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Goal: T4. Method: the inputs that decode to the most memory per byte.
func TestDecodingAllocatesAtMostFourTimesTheInput(t *testing.T) {
	smallest := AppendPacket(nil, &Packet{Kind: PacketForward})
	barriers := Packet{Kind: PacketConsensus, Message: consensus.Message{Kind: 1, Entries: make([]consensus.Entry, 5000)}}
	config := Packet{Kind: PacketConsensus, Message: consensus.Message{Kind: 1, Snapshot: &consensus.Snapshot{}}}
	config.Message.Snapshot.Configuration.Voters = make([]consensus.ReplicaID, 5000)
	lie := AppendPacket(nil, &barriers)
	for name, frame := range map[string][]byte{
		"smallest packets":   bytes.Repeat(smallest, 2000),
		"smallest snapshots": bytes.Repeat(AppendPacket(nil, &Packet{Kind: PacketConsensus, Message: consensus.Message{Kind: 1, Snapshot: &consensus.Snapshot{}}}), 1000),
		"single entries":     bytes.Repeat(AppendPacket(nil, &Packet{Kind: PacketConsensus, Message: consensus.Message{Kind: 1, Entries: make([]consensus.Entry, 1)}}), 1000),
		"smallest entries":   AppendPacket(nil, &barriers),
		"configuration":      AppendPacket(nil, &config),
		"cut in the middle":  lie[:len(lie)/2],
	} {
		got := allocated(func() { _, _ = DecodePackets(frame, nil) })
		if limit := uint64(4*len(frame)) + 1024; got > limit { // 1 KiB: error texts
			t.Errorf("%s: %d bytes allocated for %d", name, got, len(frame))
		}
	}
}

func FuzzDecodePackets(f *testing.F) {
	var all []byte
	for _, s := range samples() {
		b := AppendPacket(nil, &s.packet)
		f.Add(b)
		all = append(all, b...)
	}
	f.Add(all)
	f.Add(bytes.Repeat(AppendPacket(nil, &Packet{Kind: PacketForward}), 50))
	f.Fuzz(func(t *testing.T, frame []byte) {
		var packets []Packet
		var err error
		got := allocated(func() { packets, err = DecodePackets(frame, nil) })
		if limit := uint64(4*len(frame)) + 64<<10; got > limit { // 64 KiB: the fuzzer's own goroutines
			t.Fatalf("%d bytes allocated for %d", got, len(frame))
		}
		if err != nil {
			if !errors.Is(err, ErrMalformed) || len(packets) != 0 {
				t.Fatalf("%d packets and %v", len(packets), err)
			}
			return
		}
		var again []byte
		for i := range packets {
			again = AppendPacket(again, &packets[i])
		}
		back, err := DecodePackets(again, nil)
		if err != nil {
			t.Fatalf("decoded packets do not survive their own encoding: %v", err)
		}
		if diff := cmp.Diff(packets, back, samePacket); diff != "" {
			t.Fatal(diff)
		}
	})
}

func BenchmarkAppendPacket(b *testing.B) {
	p := samples()[2].packet
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendPacket(buf[:0], &p)
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkDecodePackets(b *testing.B) {
	var frame []byte
	p := samples()[2].packet
	for range 16 {
		frame = AppendPacket(frame, &p)
	}
	var dst []Packet
	b.ReportAllocs()
	b.SetBytes(int64(len(frame)))
	for b.Loop() {
		dst, _ = DecodePackets(frame, dst[:0])
	}
}
