package transport

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Goal: whatever connections do in whatever order, the handler hears a sensible story
// (T6). Method: random notes; after each, the events since the last PeerUp only get worse,
// PeerUp comes only while a connection to the peer stands, and a stale connection's end
// says nothing.
func TestLivenessTellsASensibleStory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &liveness{}
		r := &recorder{}
		told := peerUnknown
		var out *outbound
		var in *inbound
		var oldOut []*outbound
		var oldIn []*inbound
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 6).Draw(t, "note") {
			case 0:
				if out != nil {
					oldOut = append(oldOut, out)
				}
				out = &outbound{}
				l.outboundUp(out)
			case 1:
				if out != nil {
					l.outboundLost(out)
					out = nil
				} else {
					l.outboundLost(nil)
				}
			case 2:
				restarted := in != nil && rapid.Bool().Draw(t, "restarted")
				if in != nil {
					oldIn = append(oldIn, in)
				}
				in = &inbound{}
				if stale := l.inboundUp(in, restarted); stale != nil {
					if stale != out || !restarted {
						t.Fatal("dropped a connection that is not stale")
					}
					oldOut, out = append(oldOut, out), nil
				}
			case 3, 4:
				if in == nil {
					continue
				}
				end := inboundEnd(rapid.IntRange(int(endReset), int(endBye)).Draw(t, "end"))
				doubtful := l.inboundLost(in, end)
				if (doubtful != nil) != (out != nil && end != endBye) {
					t.Fatalf("doubtful %v, outbound %v, end %d", doubtful, out, end)
				}
				if doubtful != nil {
					oldOut, out = append(oldOut, out), nil
				}
				in = nil
			case 5:
				if len(oldOut) > 0 {
					l.outboundLost(oldOut[0])
				}
			case 6:
				if len(oldIn) > 0 && l.inboundLost(oldIn[0], endReset) != nil {
					t.Fatal("a stale connection's end cast doubt on the present one")
				}
			}
			l.tell(2, r, false)
			for _, e := range strings.Split(r.take(), ", ") {
				was := told
				switch e {
				case "":
					continue
				case "up b":
					told = peerUp
					if was == peerUp || out == nil {
						t.Fatalf("%q while %v, connection to the peer: %v", e, was, out != nil)
					}
					continue
				case "down b":
					told = peerUnreachable
				case "reset b":
					told = peerReset
				}
				if told <= was {
					t.Fatalf("%q while %v", e, was)
				}
			}
			state, toPeer, fromPeer := l.view()
			if state != told || toPeer != (out != nil) || fromPeer != (in != nil) {
				t.Fatalf("view %v %v %v; told %v, connections %v %v", state, toPeer, fromPeer, told, out != nil, in != nil)
			}
		}
	})
}

// Goal: every state has a name. Method: print them.
func TestNames(t *testing.T) {
	got := fmt.Sprint(peerUnknown, peerUp, peerUnreachable, peerReset,
		PacketConsensus, PacketForward, PacketKind(7), PurposeMessages, PurposeSnapshot, PurposeProbe, Purpose(9),
		Reason(0), ReasonVersion, ReasonCluster, ReasonNode, ReasonIncarnation, ReasonHandler, ReasonBusy, Reason(99), NodeID(255))
	want := "unknown up unreachable reset consensus forward packet-kind-7 messages snapshot probe purpose-9 " +
		"accepted version cluster node incarnation handler busy reason-99 ff"
	if got != want {
		t.Errorf("%s", got)
	}
}
