package placement

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/quorate/quorate/ring"
)

// When nothing must move, what may is moved for its load: first leads, which cost next to nothing,
// and if these do not help, one replica. The load of a node is the cost of all that it does, by
// its weight.
//
// A move is judged by what the places cost that it exchanges: a leader's is taken over by whom
// it hands over to, and that one's by it. Both are measured, so work that does not follow the
// leader (a follower's, that of clients which stay) is not thought to. A shard that a node does not
// report by itself costs there between nothing and what the cheapest costs that it does report;
// moves are judged by the worse of the two.
//
// Loads that stay as they are come to rest: of two nodes the one with more has less after a move, so
// the list of all nodes' loads, from the highest down, comes earlier in the order of a dictionary than
// any before. What was left does not come back, and nothing begins below hotPercent.
const (
	// hotPercent of the mean load is where a node is hot, if it has that in so many successive
	// reports and is busy at all, by this many thousandths of a core: who has nothing to do is
	// not helped by having less.
	hotPercent    = 150
	hotReports    = 3
	hotThousandth = 100
	// warmPercent of the mean is what a hot node is brought down to, if it can.
	warmPercent = 110
	// gainPercent of the mean is what a plan must gain: what the most loaded of those that it is
	// about has less. stepPercent is that of one of its moves.
	gainPercent = 10
	stepPercent = 1
	// leadsMax bounds the leads that a plan moves for load. One by one, a node with fifty warm
	// shards would gain too little by each, and take half an hour for all.
	leadsMax = 8
	// balancedRest is how long a shard stays that was moved for load, in seconds.
	balancedRest = 120
)

// burden is a node as it is judged by load.
type burden struct {
	Member
	place ring.NodeID
	load  float64
	cost  map[uint64]float64 // by shard
	least float64            // what a shard costs at most that is not among these
}

// rate is the load by the weight.
func (n *burden) rate() float64 { return n.load / float64(n.weight()) }

// with is the rate if the node had so much more.
func (n *burden) with(more float64) float64 { return (n.load + more) / float64(n.weight()) }

// of bounds what a shard costs on the node.
func (n *burden) of(shard uint64) (low, high float64) {
	if cost, ok := n.cost[shard]; ok {
		return cost, cost
	}
	return 0, n.least
}

// zone is what fails together with the node.
func (n *burden) zone() string {
	if n.Zone == "" {
		return fmt.Sprintf("/%x", n.ID) // no zone begins with a slash
	}
	zone, _, _ := strings.Cut(n.Zone, "/")
	return zone
}

// balancing is a plan for the load being made: moves that are chosen are at once carried out here.
type balancing struct {
	*planning
	ring   *ring.Ring
	placed *ring.Placement
	rooms  map[int]map[ring.NodeID]*ring.Load // by replicas wanted: caps are kept by class

	nodes       []*burden // that may get more, by id
	hot         *burden
	mean, total float64
	moved       map[uint64]bool // shards
	took        map[*burden]bool
	list        []Proposal
}

// balance proposes moves for load, if a node is hot and it helps.
func (b *planning) balance(r *ring.Ring, placed *ring.Placement) error {
	x := &balancing{planning: b, ring: r, placed: placed}
	x.weigh()
	if x.hot == nil {
		return nil
	}
	before := x.hot.rate()
	for range leadsMax {
		if x.hot.rate() <= x.mean*warmPercent/100 {
			break
		}
		if ok, err := x.moveLead(); err != nil {
			return err
		} else if !ok {
			break
		}
	}
	after := x.hot.rate()
	for n := range x.took {
		after = max(after, n.rate())
	}
	if before-after < x.mean*gainPercent/100 {
		x.weigh() // as it was
		if err := x.moveReplica(); err != nil {
			return err
		}
	}
	b.proposals = append(b.proposals, x.list...)
	return nil
}

// weigh takes up what the nodes have reported, and finds the hottest.
func (x *balancing) weigh() {
	x.nodes, x.hot, x.total, x.list = nil, nil, 0, nil
	x.rooms, x.moved, x.took = make(map[int]map[ring.NodeID]*ring.Load), make(map[uint64]bool), make(map[*burden]bool)
	weight := 0
	for _, m := range x.c.Members() {
		if m.weight() == 0 || !x.alive[m.place()] || x.Silent[m.ID] {
			continue
		}
		report := x.c.loads[m.ID]
		n := &burden{Member: m, place: m.place(), load: float64(report.Sum().Cost), cost: make(map[uint64]float64)}
		least := math.Inf(1)
		for _, s := range report.Shards {
			n.cost[s.ID] = float64(s.Cost)
			least = min(least, float64(s.Cost))
		}
		if len(report.Shards) == LoadShardsMax {
			n.least = least
		}
		x.nodes = append(x.nodes, n)
		x.total, weight = x.total+n.load, weight+m.weight()
		if report.above >= hotReports && n.load >= hotThousandth && (x.hot == nil || n.rate() > x.hot.rate()) {
			x.hot = n
		}
	}
	if x.hot == nil {
		return
	}
	x.mean = x.total / float64(weight)
	if x.hot.rate()*100 <= x.mean*hotPercent { // those who are silent made it look so
		x.hot = nil
	}
}

// step is a move that may be made.
type step struct {
	k, swap *Keyspace // swap: whose lead goes the other way; nil if there is room
	to      *burden
	relief  float64 // what the hot node has less, at least
	added   float64 // what the other one has more, at most
	gain    float64
}

// exchange notes that a node has a shard's higher cost no more, and the other one's lower.
func (m *step) exchange(shard uint64, hot *burden) {
	cost := hot.cost[shard]
	low, high := m.to.of(shard)
	m.relief, m.added = m.relief+cost-high, m.added+cost-low
}

// back notes the same the other way.
func (m *step) back(shard uint64, hot *burden) {
	low, high := hot.of(shard)
	least, most := m.to.of(shard)
	m.relief, m.added = m.relief-most+low, m.added-least+high
}

// moveLead moves the lead in one of the hot node's shards to where that helps most. It reports
// whether there was one.
func (x *balancing) moveLead() (bool, error) {
	best := step{gain: x.mean * stepPercent / 100}
	better := func(m *step) bool {
		m.gain = x.gain(m)
		return m.gain > best.gain || m.gain == best.gain && best.k != nil && m.to.rate() < best.to.rate()
	}
	for _, k := range x.candidates() {
		s := &k.Shards[0]
		if s.Nodes[0].place() != x.hot.place {
			continue
		}
		for _, n := range s.Nodes[1:] {
			to := x.node(n.place())
			if to == nil {
				continue
			}
			m := step{k: k, to: to}
			m.exchange(s.ID, x.hot)
			if !better(&m) {
				continue
			}
			room, err := x.room(k)
			if err != nil {
				return false, err
			}
			if l := room[to.place]; l.Leaders >= l.LeadersCap {
				if m.swap = x.cold(k, to); m.swap == nil {
					continue
				}
				if m.back(m.swap.Shards[0].ID, x.hot); !better(&m) {
					continue
				}
			}
			best = m
		}
	}
	if best.k == nil {
		return false, nil
	}
	return true, x.takeLead(&best)
}

// gain is what the higher of the two rates has less after a move.
func (x *balancing) gain(m *step) float64 {
	return x.hot.rate() - max(x.hot.with(-m.relief), m.to.with(m.added))
}

// takeLead makes the move.
func (x *balancing) takeLead(m *step) error {
	room, err := x.room(m.k)
	if err != nil {
		return err
	}
	note := fmt.Sprintf("%s: the leader of %s (%s) moves there", x.compare(m.to), m.k.Name, x.percent(x.hot.cost[m.k.Shards[0].ID]))
	x.lead(m.k, x.hot, m.to, note)
	room[x.hot.place].Leaders, room[m.to.place].Leaders = room[x.hot.place].Leaders-1, room[m.to.place].Leaders+1
	if m.swap != nil {
		note = fmt.Sprintf("node %s leads as many as it may: the leader of %s moves to node %s, for that of %s", m.to.label(), m.swap.Name, x.hot.label(), m.k.Name)
		x.lead(m.swap, m.to, x.hot, note)
		room[x.hot.place].Leaders, room[m.to.place].Leaders = room[x.hot.place].Leaders+1, room[m.to.place].Leaders-1
	}
	x.hot.load, m.to.load = x.hot.load-m.relief, m.to.load+m.added
	x.took[m.to] = true
	return nil
}

// lead proposes that another of a keyspace's nodes leads.
func (x *balancing) lead(k *Keyspace, from, to *burden, note string) {
	s := k.Shards[0].clone()
	s.lead(slices.IndexFunc(s.Nodes, func(n Node) bool { return n.place() == to.place }))
	s.Balanced = x.Now
	x.moved[s.ID] = true
	move := ring.Move{Shard: ring.ShardID(s.ID), Kind: ring.Lead, Node: to.place, Other: from.place, Reason: ring.Hot}
	x.list = append(x.list, Proposal{Keyspace: k.Name, Moves: []ring.Move{move}, Note: note, Next: k.with(s)})
}

// cold is the keyspace of the class that a node leads and the hot one could for the least.
func (x *balancing) cold(hot *Keyspace, from *burden) (best *Keyspace) {
	cost := math.Inf(1)
	for _, s := range x.placed.Shards {
		if s.Replicas[0] != from.place || !slices.Contains(s.Replicas[1:], x.hot.place) {
			continue
		}
		k := x.c.keyspaces[x.c.shards[uint64(s.ID)]]
		low, _ := x.hot.of(uint64(s.ID))
		_, high := from.of(uint64(s.ID))
		if k.Replicas == hot.Replicas && high-low < cost && x.mayMove(&k) {
			best, cost = &k, high-low
		}
	}
	return best
}

// moveReplica moves one of the hot node's replicas to where there is room and that helps most.
func (x *balancing) moveReplica() error {
	best := step{gain: x.mean * gainPercent / 100}
	for _, k := range x.candidates() {
		for _, to := range x.nodes {
			cost := x.hot.cost[k.Shards[0].ID]
			m := step{k: k, to: to, relief: cost, added: cost}
			if m.gain = x.gain(&m); m.gain <= best.gain {
				continue
			}
			ok, err := x.fits(k, to)
			if err != nil {
				return err
			}
			if ok {
				best = m
			}
		}
	}
	if best.k == nil {
		return nil
	}
	s := &best.k.Shards[0]
	next, did, err := begin(s, []ring.Move{{Shard: ring.ShardID(s.ID), Kind: ring.Add, Node: best.to.place, Other: x.hot.place, Reason: ring.Hot}})
	if errors.Is(err, ErrNoRoom) {
		return nil
	}
	if err != nil {
		return err
	}
	next.Balanced = x.Now
	note := fmt.Sprintf("%s: a replica of %s (%s) moves there", x.compare(best.to), best.k.Name, x.percent(best.relief))
	x.list = append(x.list, Proposal{Keyspace: best.k.Name, Moves: did, Note: note, Next: best.k.with(next)})
	return nil
}

// fits reports whether a node may take the hot one's replica of a keyspace (R1, R3, R4 of the ring).
func (x *balancing) fits(k *Keyspace, to *burden) (bool, error) {
	room, err := x.room(k)
	if err != nil {
		return false, err
	}
	s, l := &k.Shards[0], room[to.place]
	zone := 1
	for _, n := range s.Nodes {
		if n.ID == to.ID {
			return false, nil
		}
		m := burden{Member: x.c.members[n.ID]}
		if n.place() != x.hot.place && m.weight() > 0 && m.zone() == to.zone() {
			zone++
		}
	}
	leads := s.Nodes[0].place() == x.hot.place
	return l.Replicas < l.Cap && !(leads && l.Leaders >= l.LeadersCap) && zone <= x.ring.ZoneMost(k.Replicas), nil
}

// candidates are the keyspaces that the hot node reports and that may move for load, by shard.
func (x *balancing) candidates() (list []*Keyspace) {
	for id := range x.hot.cost {
		k, ok := x.c.ByShard(id)
		if ok && x.mayMove(&k) && slices.ContainsFunc(k.Shards[0].Nodes, func(n Node) bool { return n.place() == x.hot.place }) {
			list = append(list, &k)
		}
	}
	slices.SortFunc(list, func(a, b *Keyspace) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// mayMove reports whether a keyspace may be moved for load. The cluster's own have no leader by
// record, and whoever was moved of late rests. A time that lies far ahead is some wrong clock's.
func (x *balancing) mayMove(k *Keyspace) bool {
	s := &k.Shards[0]
	since := x.Now - s.Balanced
	rests := since < balancedRest && since > -balancedRest
	return !own(k.Name) && !rests && !x.moved[s.ID] && !x.lost(s)
}

// room is what each node has and may have of the keyspaces that want as many replicas.
func (x *balancing) room(k *Keyspace) (map[ring.NodeID]*ring.Load, error) {
	if room, ok := x.rooms[k.Replicas]; ok {
		return room, nil
	}
	class := &ring.Placement{}
	for _, s := range x.placed.Shards {
		if s.Want == k.Replicas {
			class.Shards = append(class.Shards, s)
		}
	}
	list, err := x.ring.Loads(class, ring.Policy{ReplicaLoad: x.LoadPercent})
	if err != nil {
		return nil, err
	}
	room := make(map[ring.NodeID]*ring.Load, len(list))
	for i := range list {
		room[list[i].Node] = &list[i]
	}
	x.rooms[k.Replicas] = room
	return room, nil
}

// node is who has a place and may get more; nil: nobody.
func (x *balancing) node(place ring.NodeID) *burden {
	if i := slices.IndexFunc(x.nodes, func(n *burden) bool { return n.place == place }); i >= 0 {
		return x.nodes[i]
	}
	return nil
}

// compare says how the load is spread between the hot node and another one.
func (x *balancing) compare(to *burden) string {
	return fmt.Sprintf("node %s has %s of the load and node %s %s", x.hot.label(), x.percent(x.hot.load), to.label(), x.percent(to.load))
}

func (x *balancing) percent(load float64) string {
	return fmt.Sprintf("%.0f %%", 100*load/x.total)
}

// label is the node's name, or its id.
func (n *burden) label() string {
	if n.Name != "" {
		return n.Name
	}
	return fmt.Sprintf("%x", n.ID)
}
