package paxos

import (
	"testing"

	"github.com/quorate/quorate/consensus"
)

// drainAtOnce takes what the machine says, with a disk that is always quick.
func drainAtOnce(m *Machine) (sent []consensus.Message) {
	for rd, ok := m.Ready(); ok; rd, ok = m.Ready() {
		sent = append(append(sent, rd.Send...), rd.AfterSync...)
		seq := rd.Append.Seq
		if !rd.Learned.Empty() {
			m.Done(consensus.Done{Applied: rd.Learned.Hi - 1})
		}
		if seq != 0 {
			m.Done(consensus.Done{Durable: seq})
		}
	}
	return sent
}

// Goal: a replica that learns the beginning of a change and everything up to where the new
// voters govern in one go writes down what is decided (P7): the leader waits for that.
// Method: all is accepted before a restart, and one heartbeat tells that it is decided.
func TestHandoverIsRecordedAfterOneLearn(t *testing.T) {
	const window = 4
	w := newWorld(1)
	c := w.defaults(3)
	c.HardState = consensus.HardState{Epoch: 1, Vote: 1}
	c.Log.Configuration = voters(1, 2, 3)
	change := consensus.Configuration{
		Membership: consensus.Membership{Voters: []consensus.ReplicaID{1, 3, 4}},
		Outgoing:   []consensus.ReplicaID{1, 2, 3}, Begun: 2,
	}
	data := consensus.AppendConfiguration(nil, &change)
	c.Log.Entries = []consensus.EntryInfo{
		{Epoch: 1, Orig: 1, Kind: consensus.EntryBarrier},
		{Epoch: 1, Orig: 1, Kind: consensus.EntryMembership, Size: uint32(len(data)), Data: data},
		{Epoch: 1, Orig: 1, Kind: consensus.EntryBarrier},
		{Epoch: 1, Orig: 1, Kind: consensus.EntryBarrier},
		{Epoch: 1, Orig: 1, Kind: consensus.EntryBarrier},
	}
	m, err := New(c, window) // restarted: all is accepted, nothing known decided
	if err != nil {
		t.Fatal(err)
	}
	known := consensus.Index(0)
	for round := range 3 {
		beat := consensus.Message{Kind: KindHeartbeat, Group: 1, From: 1, To: 3, Epoch: 1, Index: 5, Commit: 5, Round: uint64(round)}
		if err := m.Step(beat); err != nil {
			t.Fatal(err)
		}
		for _, msg := range drainAtOnce(m) {
			if msg.Kind == KindHeartbeatReply {
				known = msg.Commit
			}
		}
	}
	if m.commit != 5 || known < 5 {
		t.Errorf("commit is %d, and %d is known durably; the new voters govern from 6 on", m.commit, known)
	}
}
