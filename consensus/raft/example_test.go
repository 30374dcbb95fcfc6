package raft_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/raft"
)

// Three machines and the whole loop of a driver: memory for a disk, a slice for a network.
// A real driver writes Append to a file and answers with Done.Durable later; see
// examples/counter for one.
func Example() {
	const messageBytes = 1 << 16
	group := consensus.Configuration{Membership: consensus.Membership{Voters: []consensus.ReplicaID{1, 2, 3}}}
	machines, logs := map[consensus.ReplicaID]consensus.Machine{}, map[consensus.ReplicaID]map[consensus.Index]consensus.Entry{}
	for _, id := range group.Voters {
		logs[id] = map[consensus.Index]consensus.Entry{}
		machines[id], _ = raft.Engine.New(consensus.Config{
			Group: 1, ID: id, Rand: rand.New(rand.NewPCG(1, uint64(id))), ElectionTicks: 10, HeartbeatTicks: 1, ReadRounds: 16,
			MessageBytes: messageBytes, InflightMessages: 16, InflightBytes: 1 << 20, UncommittedBytes: 1 << 20,
			Log: consensus.LogState{Configuration: group},
		})
	}
	hello := consensus.Proposal{Kind: consensus.ProposeCommands, Commands: []consensus.Command{{ID: 1, Data: []byte("hello")}}}
	var network []consensus.Message
	for proposed, learned := false, 0; learned < 3; {
		for _, id := range group.Voters {
			m, log := machines[id], logs[id]
			m.Tick()
			proposed = proposed || m.Propose(hello) == nil // only a leader takes it
			for rd, ok := m.Ready(); ok; rd, ok = m.Ready() {
				cut := rd.Append.Truncate
				maps.DeleteFunc(log, func(i consensus.Index, _ consensus.Entry) bool { return cut != 0 && i >= cut })
				for _, e := range rd.Append.Entries {
					log[e.Index] = e
				}
				for _, msg := range slices.Concat(rd.Send, rd.AfterSync) { // this disk is instant
					if msg.FillFrom(func(i consensus.Index) (consensus.Entry, bool) { e, ok := log[i]; return e, ok }, messageBytes) {
						network = append(network, msg)
					}
				}
				done := consensus.Done{Durable: rd.Append.Seq}
				for i := rd.Learned.Lo; i < rd.Learned.Hi; i++ {
					done.Applied = i
					if log[i].Kind == consensus.EntryCommand {
						fmt.Printf("replica %v learned %d: %s\n", id, i, log[i].Data)
						learned++
					}
				}
				m.Done(done)
			}
		}
		for ; len(network) > 0; network = network[1:] {
			machines[network[0].To].Step(network[0])
		}
	}
	// Unordered output:
	// replica 1 learned 2: hello
	// replica 2 learned 2: hello
	// replica 3 learned 2: hello
}
