package transport

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// story is a model of liveness: which connections stand, and what was told.
type story struct {
	live   *liveness
	heard  *recorder
	told   peerState
	out    *outbound
	in     *inbound
	oldOut []*outbound
	oldIn  []*inbound
}

// Goal: whatever connections do in whatever order, the handler hears a sensible story
// (T6). Method: random notes; after each, the events since the last PeerUp only get worse,
// PeerUp comes only while a connection to the peer stands, and a stale connection's end
// says nothing.
func TestLivenessTellsASensibleStory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &story{live: &liveness{}, heard: &recorder{}}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			s.note(t)
			s.live.tell(2, s.heard, false)
			for _, e := range strings.Split(s.heard.take(), ", ") {
				s.hear(t, e)
			}
			state, toPeer, fromPeer := s.live.view()
			if state != s.told || toPeer != (s.out != nil) || fromPeer != (s.in != nil) {
				t.Fatalf("view %v %v %v; told %v, connections %v %v", state, toPeer, fromPeer, s.told, s.out != nil, s.in != nil)
			}
		}
	})
}

// note makes one random note.
func (s *story) note(t *rapid.T) {
	switch rapid.IntRange(0, 6).Draw(t, "note") {
	case 0:
		s.dropOut()
		s.out = &outbound{}
		s.live.outboundUp(s.out)
	case 1:
		s.live.outboundLost(s.out) // nil: a failed dial
		s.out = nil
	case 2:
		restarted := s.in != nil && rapid.Bool().Draw(t, "restarted")
		if s.in != nil {
			s.oldIn = append(s.oldIn, s.in)
		}
		s.in = &inbound{}
		stale := s.live.inboundUp(s.in, restarted)
		if (stale != nil) != (restarted && s.out != nil) {
			t.Fatalf("restarted %v, dropped a connection: %v", restarted, stale != nil)
		}
		if stale != nil {
			s.dropOut()
		}
	case 3, 4:
		if s.in == nil {
			return
		}
		end := inboundEnd(rapid.IntRange(int(endReset), int(endBye)).Draw(t, "end"))
		doubtful := s.live.inboundLost(s.in, end)
		if (doubtful != nil) != (s.out != nil && end != endBye) {
			t.Fatalf("doubtful %v, outbound %v, end %d", doubtful, s.out, end)
		}
		if doubtful != nil {
			s.dropOut()
		}
		s.in = nil
	case 5:
		if len(s.oldOut) > 0 {
			s.live.outboundLost(s.oldOut[0])
		}
	case 6:
		if len(s.oldIn) > 0 && s.live.inboundLost(s.oldIn[0], endReset) != nil {
			t.Fatal("a stale connection's end cast doubt on the present one")
		}
	}
}

func (s *story) dropOut() {
	if s.out != nil {
		s.oldOut = append(s.oldOut, s.out)
	}
	s.out = nil
}

// hear judges one event.
func (s *story) hear(t *rapid.T, event string) {
	was := s.told
	switch event {
	case "":
		return
	case "up b":
		s.told = peerUp
		if was == peerUp || s.out == nil {
			t.Fatalf("%q while %v, connection to the peer: %v", event, was, s.out != nil)
		}
		return
	case "down b":
		s.told = peerUnreachable
	case "reset b":
		s.told = peerReset
	}
	if s.told <= was {
		t.Fatalf("%q while %v", event, was)
	}
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
