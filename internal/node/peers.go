package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/transport"
)

// peerHandler is the node as its transport sees it.
type peerHandler struct{ n *Node }

// Accept implements transport.Handler: a peer is who it was when it was first
// met, on the same disk (N3).
func (h peerHandler) Accept(hello transport.Hello) error {
	if hello.Purpose == transport.PurposeProbe {
		return nil
	}
	if !h.n.member.Load() {
		return errors.New("this node does not know yet whether it is a member: try again")
	}
	if level := h.n.Level(); hello.MaxLevel < level {
		return fmt.Errorf("the cluster has feature level %d and member %v knows only up to %d: start a newer version", level, hello.Node, hello.MaxLevel)
	}
	return h.n.peers.meet(acquaintance{
		Node: shard.NodeID(hello.Node), Incarnation: uint16(hello.Incarnation), Disk: hello.Disk,
	})
}

// Deliver implements transport.Handler.
func (h peerHandler) Deliver(from transport.NodeID, packets []transport.Packet) {
	bytes := 0
	for i := range packets {
		bytes += len(packets[i].Body)
		for j := range packets[i].Message.Entries {
			bytes += len(packets[i].Message.Entries[j].Data)
		}
	}
	h.n.mail.postPackets(shard.NodeID(from), packets, bytes)
}

// PeerUp implements transport.Handler.
func (h peerHandler) PeerUp(id transport.NodeID) {
	h.n.cfg.Logger.Info("peer connected", "peer", id)
	h.n.liveness.hears(shard.NodeID(id))
	h.n.hasten.Do(func() {
		h.n.mail.post(event{kind: eventCall, call: func() error {
			h.n.host.Hasten()
			return nil
		}})
	})
}

// PeerDown implements transport.Handler.
func (h peerHandler) PeerDown(id transport.NodeID, reset bool) {
	state := consensus.PeerUnreachable
	if reset {
		state = consensus.PeerReset
	}
	h.n.cfg.Logger.Warn("peer disconnected", "peer", id, "reset", reset)
	h.n.liveness.misses(shard.NodeID(id))
	h.n.mail.post(event{kind: eventPeer, from: shard.NodeID(id), state: state})
}

// Probe implements transport.Handler.
func (h peerHandler) Probe(hello transport.Hello) transport.ProbeReply {
	known, ok := h.n.peers.known(shard.NodeID(hello.Node))
	return transport.ProbeReply{
		Member: ok && known.Disk != hello.Disk, Incarnation: transport.Incarnation(known.Incarnation), Body: h.n.ticketFor(&hello),
	}
}

// acquaintance is what a node remembers of a peer it has met.
type acquaintance struct {
	Node        shard.NodeID `json:"node"`
	Incarnation uint16       `json:"incarnation"`
	Disk        uint64       `json:"disk"`
}

// peerBook remembers every peer this node has exchanged messages with, durably
// and before the first of them counts: a peer that comes back with another disk
// is not the one that voted.
type peerBook struct {
	dir *dataDir
	mu  struct {
		sync.Mutex
		met map[shard.NodeID]acquaintance
	}
}

// peerBookFile is the book's name in the data directory: a line of JSON and its CRC32C.
const peerBookFile = "peers"

func openPeerBook(dir *dataDir) (*peerBook, error) {
	b := &peerBook{dir: dir}
	b.mu.met = make(map[shard.NodeID]acquaintance)
	text, err := dir.readChecked(peerBookFile)
	if err != nil || text == "" {
		return b, err
	}
	var list []acquaintance
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", dir.join(peerBookFile), ErrDamaged, err)
	}
	for _, a := range list {
		b.mu.met[a.Node] = a
	}
	return b, nil
}

func (b *peerBook) known(node shard.NodeID) (acquaintance, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a, ok := b.mu.met[node]
	return a, ok
}

// meet remembers a peer or refuses one that has changed.
func (b *peerBook) meet(a acquaintance) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	old, ok := b.mu.met[a.Node]
	if ok && old == a {
		return nil
	}
	if ok && a.Incarnation <= old.Incarnation {
		return fmt.Errorf("member %v has already been bootstrapped: it was met with incarnation %d on another disk, this one must not vote under its old identity", a.Node, old.Incarnation)
	}
	b.mu.met[a.Node] = a
	if err := b.save(); err != nil {
		if delete(b.mu.met, a.Node); ok {
			b.mu.met[a.Node] = old
		}
		return fmt.Errorf("remember member %v: %w", a.Node, err)
	}
	return nil
}

// save makes the book durable; b.mu is held.
func (b *peerBook) save() error {
	list := make([]acquaintance, 0, len(b.mu.met))
	for _, a := range b.mu.met {
		list = append(list, a)
	}
	body, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return b.dir.writeChecked(peerBookFile, string(body))
}

// refusalLog logs refused packets, a line per peer and second at most.
type refusalLog struct{ last map[shard.NodeID]time.Time }

func (l *refusalLog) log(logger *slog.Logger, from shard.NodeID, err error) {
	if l.last == nil {
		l.last = make(map[shard.NodeID]time.Time)
	}
	if now := time.Now(); now.Sub(l.last[from]) > time.Second {
		l.last[from] = now
		logger.Warn("refused a packet", "peer", from, "reason", err)
	}
}
