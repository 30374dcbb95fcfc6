package sim

import (
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/transport"
)

// network carries encoded packets between nodes. Links are directed. Like the
// production transport it delivers a forwarded packet at most once; consensus
// messages may come twice.
type network struct {
	s       *Sim
	blocked map[[2]int]int           // [from, to]: by how many faults
	slow    map[[2]int]time.Duration // extra delay
}

func newNetwork(s *Sim) *network {
	return &network{s: s, blocked: make(map[[2]int]int), slow: make(map[[2]int]time.Duration)}
}

func (n *network) open(from, to int) bool { return n.blocked[[2]int{from, to}] == 0 }

func (n *network) cut(link [2]int)  { n.blocked[link]++ }
func (n *network) mend(link [2]int) { n.blocked[link] = max(0, n.blocked[link]-1) }

func (n *network) clear() {
	clear(n.blocked)
	clear(n.slow)
}

// delay draws the one-way time of a packet.
func (n *network) delay(from, to int) time.Duration {
	w := &n.s.opts.swarm
	d := n.s.between(w.latencyMin, w.latencyMax)
	if n.s.chance(0.02) {
		d *= 10 // reorders it behind what is sent later
		n.s.report.count("fault reorder")
	}
	return d + n.slow[[2]int{from, to}]
}

// send puts a packet on its way; frame is the encoded packet and belongs to it.
func (n *network) send(from, to *simNode, frame []byte, consensusMessage bool) bool {
	w := &n.s.opts.swarm
	if !n.open(from.index, to.index) {
		return true // lost, and the sender does not know
	}
	if !n.s.healing && n.s.chance(w.loss) {
		n.s.report.count("fault drop")
		return true
	}
	n.deliver(from, to, frame)
	if consensusMessage && !n.s.healing && n.s.chance(w.duplicate) {
		n.s.report.count("fault duplicate")
		n.deliver(from, to, frame)
	}
	return true
}

func (n *network) deliver(from, to *simNode, frame []byte) {
	life, sent := to.boots, from.disks
	n.s.after(n.delay(from.index, to.index), func() {
		// A connection ends with the process that accepted it, and a partition
		// swallows what is under way.
		if to.boots != life || !to.running() || !n.open(from.index, to.index) || from.disks != sent {
			return
		}
		to.whenAwake(func() {
			if to.placed != nil {
				to.placed.hears(from)
			}
			to.receive(from, frame)
		})
	})
}

// port is a node's shard.NetworkPort and router.Network.
type port struct {
	n       *simNode
	packets []transport.Packet
}

// Send implements shard.NetworkPort.
func (p *port) Send(to shard.NodeID, m *consensus.Message) bool {
	p.n.s.check.leaving(p.n, m)
	frame := transport.AppendPacket(nil, &transport.Packet{Kind: transport.PacketConsensus, Message: *m})
	peer := p.n.s.nodeByID(to)
	if peer == nil {
		return false
	}
	p.n.s.trace.message(p.n.s.now, p.n, peer, m)
	return p.n.s.links.send(p.n, peer, frame, true)
}

// Forward implements router.Network.
func (p *port) Forward(to shard.NodeID, body []byte) bool {
	peer := p.n.s.nodeByID(to)
	if peer == nil {
		return false
	}
	frame := transport.AppendPacket(nil, &transport.Packet{Kind: transport.PacketForward, Body: body})
	return p.n.s.links.send(p.n, peer, frame, false)
}

func (n *simNode) receive(from *simNode, frame []byte) {
	packets, err := transport.DecodePackets(frame, n.port.packets[:0])
	if err != nil {
		n.s.violate("codec", "%s cannot decode a packet of %s: %v", n.name(), from.name(), err)
	}
	for i := range packets {
		if packets[i].Kind == transport.PacketConsensus {
			if err := n.host.Receive(&packets[i].Message); err != nil {
				n.s.report.count("error receive: " + rootText(err))
			}
		} else if err := n.router.Receive(from.id, packets[i].Body); err != nil {
			n.s.report.count("error forward: " + rootText(err))
		}
	}
	n.process()
}
