package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/quorate/quorate/consensus"
)

const (
	requestMax = 5 * time.Second // how long a client waits
	unknown    = "unknown: it may be applied, or become so later"
)

// answer ends a client's wait: a status and a text, as X4 says.
type answer struct {
	status int
	text   any
}

// ServeHTTP proposes what the client asks for and waits for the end of it.
func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := consensus.ProposalID(rand.Uint64())
	p := consensus.Proposal{Kind: consensus.ProposeReadBarrier, ID: id}
	if r.Method == http.MethodPost {
		n, err := strconv.ParseInt(r.FormValue("n"), 10, 64)
		if err != nil {
			http.Error(w, "add: "+err.Error(), http.StatusBadRequest)
			return
		}
		p = consensus.Proposal{Kind: consensus.ProposeCommands, Commands: []consensus.Command{{ID: id, Data: command(id, n)}}}
	}
	done := make(chan answer, 1)
	c.events <- func() { c.propose(id, p, done) }
	end := answer{http.StatusGatewayTimeout, unknown}
	select {
	case end = <-done:
	case <-time.After(requestMax):
	}
	w.WriteHeader(end.status)
	fmt.Fprintln(w, end.text)
}

// command is what goes into the log: the number to add, and before it the proposal's id, by
// which a replica knows its own proposals when it applies them. Ids are drawn, so they differ
// from those of other replicas and from those before a restart.
func command(id consensus.ProposalID, n int64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(id)), uint64(n))
}

// propose and finish belong to the loop (X1). The machine's windows bound who waits.
func (c *counter) propose(id consensus.ProposalID, p consensus.Proposal, done chan<- answer) {
	c.waiting[id] = done
	switch err := c.machine.Propose(p); {
	case errors.Is(err, consensus.ErrNotLeader):
		c.finish(id, http.StatusMisdirectedRequest, err)
	case err != nil:
		c.finish(id, http.StatusServiceUnavailable, err)
	}
}

// finish answers a client, if it is one of this replica's.
func (c *counter) finish(id consensus.ProposalID, status int, text any) {
	if done := c.waiting[id]; done != nil {
		done <- answer{status, text}
		delete(c.waiting, id)
	}
}
