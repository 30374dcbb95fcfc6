package etcdraft_test

import (
	"fmt"
	"math/rand/v2"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/etcdraft"
)

// Three machines and about thirty lines of driver: memory for a disk, a slice for a
// network. A real driver writes Append to a file and answers with Done.Durable later.
func Example() {
	group := consensus.Configuration{Membership: consensus.Membership{Voters: []consensus.ReplicaID{1, 2, 3}}}
	machines := map[consensus.ReplicaID]consensus.Machine{}
	logs := map[consensus.ReplicaID][]consensus.Entry{}
	for _, id := range group.Voters {
		machines[id], _ = etcdraft.Engine.New(consensus.Config{
			Group: 1, ID: id, Rand: rand.New(rand.NewPCG(1, uint64(id))),
			ElectionTicks: 10, HeartbeatTicks: 1, ReadRounds: 16,
			MessageBytes: 1 << 16, InflightMessages: 16, InflightBytes: 1 << 20, UncommittedBytes: 1 << 20,
			Log: consensus.LogState{Configuration: group},
		})
	}
	var network []consensus.Message
	drain := func(id consensus.ReplicaID) {
		for rd, ok := machines[id].Ready(); ok; rd, ok = machines[id].Ready() {
			if at := rd.Append.Truncate; at != 0 {
				logs[id] = logs[id][:at-1]
			}
			logs[id] = append(logs[id], rd.Append.Entries...)
			for _, msg := range append(rd.Send, rd.AfterSync...) { // this disk is instant
				if !msg.Fill.Empty() {
					msg.Entries, msg.Fill = logs[id][msg.Fill.Lo-1:msg.Fill.Hi-1], consensus.Span{}
				}
				network = append(network, msg)
			}
			for _, e := range logs[id][rd.Learned.Lo-1 : rd.Learned.Hi-1] {
				if e.Kind == consensus.EntryCommand {
					fmt.Printf("replica %v learned %d: %s\n", id, e.Index, e.Data)
				}
			}
			machines[id].Done(consensus.Done{Durable: rd.Append.Seq, Applied: rd.Learned.Hi - 1})
		}
	}

	for proposed := false; len(logs[1]) < 2; {
		for _, id := range group.Voters {
			machines[id].Tick()
			if !proposed && machines[id].Status().Role == consensus.Leader {
				machines[id].Propose(consensus.Proposal{
					Kind:     consensus.ProposeCommands,
					Commands: []consensus.Command{{ID: 1, Data: []byte("hello")}},
				})
				proposed = true
			}
			drain(id)
		}
		for ; len(network) > 0; network = network[1:] {
			machines[network[0].To].Step(network[0])
			drain(network[0].To)
		}
	}
	// Unordered output:
	// replica 1 learned 2: hello
	// replica 2 learned 2: hello
	// replica 3 learned 2: hello
}
