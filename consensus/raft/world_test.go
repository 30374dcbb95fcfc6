package raft

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/quorate/quorate/consensus"
)

// write is one append on its way to a host's disk, or the install of a snapshot.
type write struct {
	seq      consensus.Seq
	hard     *consensus.HardState
	truncate consensus.Index
	entries  []consensus.Entry
	install  *consensus.Snapshot
	repaired bool
	after    []consensus.Message // leave once this is durable
}

// disk is a log as bytes would hold it: what a crash leaves behind.
type disk struct {
	hard     consensus.HardState
	released consensus.Snapshot // the position and configuration before the first entry
	entries  []consensus.Entry
	doubt    bool // something durable was lost
}

func (d *disk) last() consensus.Index {
	return d.released.Index + consensus.Index(len(d.entries))
}

// entry returns the entry at i, if the log has it.
func (d *disk) entry(i consensus.Index) (consensus.Entry, bool) {
	if i <= d.released.Index || i > d.last() {
		return consensus.Entry{}, false
	}
	return d.entries[i-d.released.Index-1], true
}

func (d *disk) perform(w *write) {
	if w.hard != nil {
		if w.hard.Epoch < d.hard.Epoch || w.hard.Epoch == d.hard.Epoch && d.hard.Vote != 0 && w.hard.Vote != d.hard.Vote {
			panic(fmt.Sprintf("hard state regresses from %v to %v", d.hard, *w.hard))
		}
		d.hard = *w.hard
	}
	if w.install != nil {
		d.released, d.entries = *w.install, nil
	}
	if w.truncate != 0 {
		if w.truncate <= d.released.Index || w.truncate > d.last() {
			panic(fmt.Sprintf("truncation at %d of a log [%d,%d]", w.truncate, d.released.Index, d.last()))
		}
		d.entries = slices.Clone(d.entries[:w.truncate-d.released.Index-1])
	}
	for _, e := range w.entries {
		if e.Index != d.last()+1 {
			panic(fmt.Sprintf("entry %d appended behind %d", e.Index, d.last()))
		}
		d.entries = append(d.entries, e)
	}
	d.doubt = d.doubt && !w.repaired
}

func (d *disk) clone() disk {
	c := *d
	c.entries = slices.Clone(d.entries)
	return c
}

// host drives one machine the way a real driver does, in steps that a test chooses.
type host struct {
	id  consensus.ReplicaID
	m   *Machine // nil: crashed
	cfg consensus.Config

	view    disk    // the log as the machine believes it
	durable disk    // the log as a crash would leave it
	writes  []write // between view and durable, in order

	learned consensus.Index // handed out by the machine
	state   consensus.Snapshot
	flushed consensus.Snapshot // what of state survives a crash

	reads            []consensus.Read
	dropped, unknown []consensus.ProposalID
}

// world is a group of hosts and their network in one goroutine.
type world struct {
	rng    *rand.Rand
	hosts  []*host // ascending by id
	net    []consensus.Message
	cut    map[[2]consensus.ReplicaID]bool
	config func(*consensus.Config)

	decided []consensus.Entry // by index-1: what anybody has learned
	since   []consensus.Epoch // by index-1: the epoch in which somebody first learned it
	leaders map[consensus.Epoch]consensus.ReplicaID
	onReady func(*host, *consensus.Ready)
	onFault func(string)
}

func newWorld(seed uint64) *world {
	return &world{
		rng:     rand.New(rand.NewPCG(seed, seed)),
		cut:     map[[2]consensus.ReplicaID]bool{},
		leaders: map[consensus.Epoch]consensus.ReplicaID{},
		onFault: func(what string) { panic(what) },
	}
}

func (w *world) fault(format string, args ...any) { w.onFault(fmt.Sprintf(format, args...)) }

func (w *world) host(id consensus.ReplicaID) *host {
	for _, h := range w.hosts {
		if h.id == id {
			return h
		}
	}
	return nil
}

// defaults are small windows, so that tests meet their edges.
func (w *world) defaults(id consensus.ReplicaID) consensus.Config {
	c := consensus.Config{
		Group: 1, ID: id, Rand: w.rng,
		ElectionTicks: 10, HeartbeatTicks: 1,
		MessageBytes: 256, InflightMessages: 4, InflightBytes: 1024,
		UncommittedBytes: 4096, ReadRounds: 16,
	}
	if w.config != nil {
		w.config(&c)
	}
	return c
}

// voters is a configuration of these voters.
func voters(ids ...consensus.ReplicaID) consensus.Configuration {
	return consensus.Configuration{Membership: consensus.Membership{Voters: ids}}
}

// add makes a new host that starts with a configuration, which may be empty.
func (w *world) add(id consensus.ReplicaID, first consensus.Configuration) *host {
	h := &host{id: id}
	h.view.released.Configuration = first
	h.durable.released.Configuration = first
	h.state.Configuration = first
	h.flushed.Configuration = first
	w.hosts = append(w.hosts, h)
	slices.SortFunc(w.hosts, func(a, b *host) int { return int(a.id) - int(b.id) })
	w.start(h)
	return h
}

// start makes a machine from what the disk holds.
func (w *world) start(h *host) {
	c := w.defaults(h.id)
	h.view = h.durable.clone()
	if e, ok := h.view.entry(h.flushed.Index); h.flushed.Index > h.view.released.Index && (!ok || e.Epoch != h.flushed.Epoch) {
		// The state is ahead of the log, in length or in epoch: restart as from a snapshot.
		h.view.released, h.view.entries = h.flushed, nil
		h.durable = h.view.clone()
	}
	c.HardState = h.view.hard
	c.Log = consensus.LogState{
		Released: h.view.released.Index, ReleasedEpoch: h.view.released.Epoch,
		Configuration: h.view.released.Configuration, InDoubt: h.view.doubt,
	}
	for _, e := range h.view.entries {
		c.Log.Entries = append(c.Log.Entries, e.Info())
	}
	h.state = h.flushed
	h.learned, c.Applied = h.state.Index, h.state.Index
	m, err := New(c)
	if err != nil {
		panic(err)
	}
	h.m, h.cfg = m, c
}

// crash stops a host; of its writes the first survive, and of the one after them
// a prefix of the entries.
func (w *world) crash(h *host, survive, prefix int) {
	for i := range h.writes {
		if i > survive {
			break
		}
		wr := &h.writes[i]
		if i == survive {
			if prefix == 0 || wr.install != nil {
				break
			}
			wr.entries = wr.entries[:min(prefix, len(wr.entries))]
		}
		h.durable.perform(wr)
		if wr.install != nil {
			h.flushed = *wr.install
		}
	}
	h.m, h.writes = nil, nil
}

// rot takes from a crashed host's log what was durable: the entries behind keep, which
// is at least what its state holds, and the hard state if it is not given.
func (w *world) rot(h *host, keep consensus.Index, hard consensus.HardState) {
	d := &h.durable
	d.doubt, d.hard = true, hard
	if keep < d.last() {
		d.entries = slices.Clone(d.entries[:max(keep, d.released.Index)-d.released.Index])
	}
	for _, e := range d.entries {
		d.hard.Epoch = max(d.hard.Epoch, e.Epoch)
	}
	d.hard.Epoch = max(d.hard.Epoch, d.released.Epoch)
}

// pump drains a machine's Ready.
func (w *world) pump(h *host) {
	if h.m == nil {
		return
	}
	for rd, ok := h.m.Ready(); ok; rd, ok = h.m.Ready() {
		if w.onReady != nil {
			w.onReady(h, rd)
		}
		w.take(h, rd)
	}
}

func (w *world) take(h *host, rd *consensus.Ready) {
	if rd.RoleChanged {
		w.checkElectionSafety(h)
	}
	wr := write{seq: rd.Append.Seq, truncate: rd.Append.Truncate, repaired: rd.Append.Repaired, after: slices.Clone(rd.AfterSync)}
	wr.entries = slices.Clone(rd.Append.Entries)
	if rd.Append.HardState != nil {
		hard := *rd.Append.HardState
		wr.hard = &hard
	}
	h.view.perform(&wr)
	if len(wr.after) > 0 || !rd.Append.Empty() {
		h.writes = append(h.writes, wr)
	}
	for _, msg := range rd.Send {
		w.send(h, msg)
	}
	if rd.Install != nil {
		in := write{install: rd.Install}
		h.view.perform(&in)
		h.writes = append(h.writes, in)
		h.learned = rd.Install.Index
	}
	w.learn(h, rd.Learned)
	h.reads = append(h.reads, rd.Reads...)
	h.dropped = append(h.dropped, rd.Dropped...)
	h.unknown = append(h.unknown, rd.Unknown...)
	for _, to := range rd.NeedSnapshot {
		w.stream(h, to)
	}
}

// learn checks order and agreement of what a machine hands out (C1, C2).
func (w *world) learn(h *host, span consensus.Span) {
	if span.Empty() {
		return
	}
	if span.Lo != h.learned+1 {
		w.fault("host %v learned %v after %d", h.id, span, h.learned)
	}
	for i := span.Lo; i < span.Hi; i++ {
		e, ok := h.view.entry(i)
		switch {
		case !ok:
			w.fault("host %v learned %d, which its log does not have", h.id, i)
		case i > consensus.Index(len(w.decided)+1):
			w.fault("host %v learned %d before anybody learned %d", h.id, i, len(w.decided)+1)
		case i == consensus.Index(len(w.decided)+1):
			w.decided = append(w.decided, e)
			w.since = append(w.since, h.m.hard.Epoch)
		case !sameEntry(e, w.decided[i-1]):
			w.fault("host %v learned %v at %d, another replica %v", h.id, e, i, w.decided[i-1])
		}
	}
	h.learned = span.Hi - 1
}

func sameEntry(a, b consensus.Entry) bool {
	return a.Index == b.Index && a.Epoch == b.Epoch && a.Kind == b.Kind && string(a.Data) == string(b.Data)
}

// send fills a message from the log (C5) and puts it on the network.
func (w *world) send(h *host, msg consensus.Message) {
	if msg.FillFrom(h.view.entry, h.cfg.MessageBytes) {
		w.net = append(w.net, msg)
	}
}

// stream sends the applied state, as the driver does beside the contract.
func (w *world) stream(h *host, to consensus.ReplicaID) {
	s := h.state
	w.net = append(w.net, consensus.Message{
		Kind: KindSnapshot, Group: 1, From: h.id, To: to, Epoch: h.m.hard.Epoch, Snapshot: &s,
	})
}

// sync makes the first n writes durable and lets go of what waited for them.
func (w *world) sync(h *host, n int) {
	for range min(n, len(h.writes)) {
		wr := h.writes[0]
		h.writes = h.writes[1:]
		h.durable.perform(&wr)
		if wr.install != nil {
			h.state, h.flushed = *wr.install, *wr.install
			h.m.Done(consensus.Done{Applied: wr.install.Index})
			continue
		}
		h.m.Done(consensus.Done{Durable: wr.seq})
		for _, msg := range wr.after {
			w.send(h, msg)
		}
	}
}

// apply applies up to n learned entries.
func (w *world) apply(h *host, n int) {
	before := h.state.Index
	for range n {
		if h.state.Index >= h.learned || w.installing(h) {
			break
		}
		e := w.decided[h.state.Index]
		h.state.Index, h.state.Epoch = e.Index, e.Epoch
		if e.Kind == consensus.EntryMembership {
			c, err := consensus.DecodeConfiguration(e.Data)
			if err != nil {
				panic(err)
			}
			h.state.Configuration = c
		}
	}
	if h.state.Index > before {
		h.m.Done(consensus.Done{Applied: h.state.Index})
	}
}

func (w *world) installing(h *host) bool {
	return slices.ContainsFunc(h.writes, func(wr write) bool { return wr.install != nil })
}

// release cuts the log at or below i, but not above what is flushed and durable.
func (w *world) release(h *host, i consensus.Index) {
	h.flushed = h.state
	i = min(i, h.state.Index, h.m.disk.index) // what is on its way may still truncate
	if i <= h.durable.released.Index || i <= h.view.released.Index || w.installing(h) {
		return
	}
	for _, d := range []*disk{&h.durable, &h.view} {
		c := d.released.Configuration
		for k := d.released.Index + 1; k <= i; k++ {
			if e, _ := d.entry(k); e.Kind == consensus.EntryMembership {
				c, _ = consensus.DecodeConfiguration(e.Data)
			}
		}
		e, _ := d.entry(i)
		d.entries = slices.Clone(d.entries[i-d.released.Index:])
		d.released = consensus.Snapshot{Index: i, Epoch: e.Epoch, Configuration: c}
	}
	h.m.Done(consensus.Done{Released: i})
}

// deliver takes message k off the network and hands it to its addressee.
func (w *world) deliver(k int) error {
	msg := w.net[k]
	w.net = slices.Delete(w.net, k, k+1)
	return w.arrive(msg, !w.cut[[2]consensus.ReplicaID{msg.From, msg.To}])
}

// drop takes message k off the network.
func (w *world) drop(k int) {
	msg := w.net[k]
	w.net = slices.Delete(w.net, k, k+1)
	_ = w.arrive(msg, false)
}

func (w *world) arrive(msg consensus.Message, ok bool) error {
	to := w.host(msg.To)
	var err error
	if ok = ok && to != nil && to.m != nil; ok {
		err = to.m.Step(msg)
	}
	if from := w.host(msg.From); msg.Kind == KindSnapshot && from != nil && from.m != nil {
		from.m.Done(consensus.Done{SnapshotSent: consensus.SnapshotSent{To: msg.To, Index: msg.Snapshot.Index, OK: ok}})
	}
	return err
}

// stabilize runs everything in order until nothing is left to do.
func (w *world) stabilize() {
	for range 10000 {
		busy := false
		for _, h := range w.hosts {
			if h.m == nil {
				continue
			}
			w.pump(h)
			busy = busy || len(h.writes) > 0 || h.state.Index < h.learned
			w.sync(h, len(h.writes))
			w.apply(h, 1<<30)
			w.pump(h)
		}
		busy = busy || len(w.net) > 0
		for range len(w.net) {
			if err := w.deliver(0); err != nil && !isNotMember(err) {
				w.fault("refused: %v", err)
			}
		}
		if !busy {
			return
		}
	}
	w.fault("the group does not come to rest")
}

// tick ticks every living host once.
func (w *world) tick() {
	for _, h := range w.hosts {
		if h.m != nil {
			h.m.Tick()
		}
	}
}

// settle ticks and stabilizes n times.
func (w *world) settle(n int) {
	for range n {
		w.tick()
		w.stabilize()
	}
}

// leader returns the host that leads the highest epoch, or nil.
func (w *world) leader() *host {
	var best *host
	for _, h := range w.hosts {
		if h.m != nil && h.m.role == consensus.Leader && (best == nil || h.m.hard.Epoch > best.m.hard.Epoch) {
			best = h
		}
	}
	return best
}

// elect makes a host campaign until it leads.
func (w *world) elect(id consensus.ReplicaID) *host {
	h := w.host(id)
	for range 100 {
		w.stabilize()
		if h.m.role == consensus.Leader {
			return h
		}
		for _, o := range w.hosts {
			if o.m != nil {
				o.m.clock.silent = o.m.limit.electionTicks
			}
		}
		h.m.campaign()
	}
	panic("not elected")
}

// group makes a world of hosts 1..n that are all voters.
func group(n int, seed uint64) *world {
	w := newWorld(seed)
	var ids []consensus.ReplicaID
	for i := range n {
		ids = append(ids, consensus.ReplicaID(i+1))
	}
	for _, id := range ids {
		w.add(id, voters(ids...))
	}
	return w
}

// propose proposes one command on a host.
func (h *host) propose(id consensus.ProposalID, data string) error {
	return h.m.Propose(consensus.Proposal{
		Kind: consensus.ProposeCommands, Commands: []consensus.Command{{ID: id, Data: []byte(data)}},
	})
}

func (h *host) read(id consensus.ProposalID) error {
	return h.m.Propose(consensus.Proposal{Kind: consensus.ProposeReadBarrier, ID: id})
}

func (h *host) change(id consensus.ProposalID, target consensus.Membership) error {
	return h.m.Propose(consensus.Proposal{Kind: consensus.ProposeMembership, ID: id, Target: target})
}

func (h *host) transfer(to consensus.ReplicaID) error {
	return h.m.Propose(consensus.Proposal{Kind: consensus.ProposeTransfer, Transferee: to})
}
