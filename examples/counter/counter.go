package main

import (
	"encoding/binary"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/quorate/quorate/consensus"
)

const (
	tick         = 50 * time.Millisecond // a follower waits 10 to 20 of them for its leader
	messageBytes = 1 << 20               // Config.MessageBytes
)

// counter is one replica: the state, the machine that says what comes next in it, and what
// the driver between them needs.
type counter struct {
	id      consensus.ReplicaID
	events  chan func() // for the loop, which owns what follows (X1)
	machine consensus.Machine
	log     *logFile
	links   map[consensus.ReplicaID]chan consensus.Message // to the peers

	total   int64           // the replicated state
	applied consensus.Index // the last index that it contains
	fence   consensus.Epoch // the highest Orig applied (C11)

	waiting map[consensus.ProposalID]chan<- answer // clients of this replica
	reads   []consensus.Read                       // barriers passed whose index is not applied yet
}

// loop drives the machine (X1). What gathers during one sync shares the next.
func (c *counter) loop() error {
	go func() {
		for range time.Tick(tick) {
			c.events <- c.machine.Tick
		}
	}()
	for event := range c.events {
		event()
		for range len(c.events) {
			(<-c.events)()
		}
		for rd, ok := c.machine.Ready(); ok; rd, ok = c.machine.Ready() {
			if err := c.do(rd); err != nil {
				return fmt.Errorf("replica %d: append %d: %w", c.id, rd.Append.Seq, err)
			}
		}
	}
	return nil
}

// do does one round of work for the machine, in the contract's order: Send does not wait for
// the disk, AfterSync and Durable do (X2). Learned comes before Unknown, so that a client
// hears of a decision that came just in time.
func (c *counter) do(rd *consensus.Ready) error {
	if rd.Install != nil || len(rd.NeedSnapshot) > 0 {
		return fmt.Errorf("install %v, send to %v: a snapshot, while everybody has a whole log", rd.Install, rd.NeedSnapshot)
	}
	c.log.keep(&rd.Append)
	c.send(rd.Send)
	if !rd.Append.Empty() {
		if err := c.log.write(record{Append: rd.Append}); err != nil {
			return err
		}
	}
	c.send(rd.AfterSync)
	for i := rd.Learned.Lo; i < rd.Learned.Hi; i++ {
		c.apply(i)
	}
	c.reads = append(c.reads, rd.Reads...)
	for ; len(c.reads) > 0 && c.reads[0].Index <= c.applied; c.reads = c.reads[1:] {
		c.finish(c.reads[0].ID, http.StatusOK, c.total)
	}
	for _, id := range rd.Dropped {
		c.finish(id, http.StatusServiceUnavailable, "dropped: it is not applied and will not be")
	}
	for _, id := range rd.Unknown {
		c.finish(id, http.StatusGatewayTimeout, unknown)
	}
	c.machine.Done(consensus.Done{Durable: rd.Append.Seq, Applied: c.applied})
	return nil
}

// apply adds a learned entry to the state. Of one that an old leader left behind, to be
// decided after its successor's, nothing is applied (C11): that only happens with Paxos.
func (c *counter) apply(i consensus.Index) {
	e, ok := c.log.entry(i)
	if !ok || i != c.applied+1 {
		panic(fmt.Sprintf("replica %d: learned %d behind %d, in the log: %v", c.id, i, c.applied, ok))
	}
	c.applied = i
	if e.Orig < c.fence {
		return
	}
	c.fence = e.Orig
	if e.Kind == consensus.EntryCommand { // see command
		c.total += int64(binary.BigEndian.Uint64(e.Data[8:]))
		c.finish(consensus.ProposalID(binary.BigEndian.Uint64(e.Data)), http.StatusOK, c.total)
	}
}

// send lets messages go. What cannot be filled is dropped (C5), and what finds its link full.
func (c *counter) send(msgs []consensus.Message) {
	for _, msg := range msgs {
		if !msg.FillFrom(c.log.entry, messageBytes) {
			continue
		}
		if msg.To == c.id { // Paxos asks what its own log holds
			c.step(msg)
			continue
		}
		select {
		case c.links[msg.To] <- msg:
		default:
		}
	}
}

func (c *counter) step(msg consensus.Message) {
	if err := c.machine.Step(msg); err != nil {
		log.Printf("replica %d refuses a message: %v", c.id, err)
	}
}
