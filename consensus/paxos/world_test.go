package paxos

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/quorate/quorate/consensus"
)

// write is one append on its way to a host's disk, or the install of a snapshot.
type write struct {
	seq     consensus.Seq
	hard    *consensus.HardState
	entries []consensus.Entry
	decided consensus.Index
	install *consensus.Snapshot
	after   []consensus.Message // leave once this is durable
}

// disk is a log as bytes would hold it: what a crash leaves behind. It is sparse.
type disk struct {
	hard     consensus.HardState
	decided  consensus.Index
	released consensus.Snapshot // the position and configuration before the first slot
	entries  map[consensus.Index]consensus.Entry
}

func (d *disk) last() consensus.Index {
	last := d.released.Index
	for i := range d.entries {
		last = max(last, i)
	}
	return last
}

// entry returns the entry at i, if the log has it.
func (d *disk) entry(i consensus.Index) (consensus.Entry, bool) {
	e, ok := d.entries[i]
	return e, ok
}

func (d *disk) perform(w *write) {
	if w.hard != nil {
		if w.hard.Epoch < d.hard.Epoch || w.hard.Epoch == d.hard.Epoch && d.hard.Vote != 0 && w.hard.Vote != d.hard.Vote {
			panic(fmt.Sprintf("hard state regresses from %v to %v", d.hard, *w.hard))
		}
		d.hard = *w.hard
	}
	if w.install != nil {
		d.release(*w.install)
	}
	for _, e := range w.entries {
		if e.Index <= d.released.Index {
			continue
		}
		if had, ok := d.entries[e.Index]; ok && had.Epoch >= e.Epoch {
			panic(fmt.Sprintf("slot %d is accepted in epoch %d after %d", e.Index, e.Epoch, had.Epoch))
		}
		d.entries[e.Index] = e
	}
	d.decided = max(d.decided, w.decided)
}

// release forgets what is at or below a position, and nothing else.
func (d *disk) release(at consensus.Snapshot) {
	for i := range d.entries {
		if i <= at.Index {
			delete(d.entries, i)
		}
	}
	d.released = at
}

func (d *disk) clone() disk {
	c := *d
	c.entries = maps.Clone(d.entries)
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

// ballot is a slot and an epoch.
type ballot struct {
	slot  consensus.Index
	epoch consensus.Epoch
}

// world is a group of hosts and their network in one goroutine.
type world struct {
	rng    *rand.Rand
	hosts  []*host // ascending by id
	net    []consensus.Message
	cut    map[[2]consensus.ReplicaID]bool
	config func(*consensus.Config)

	window  int               // α
	decided []consensus.Entry // by slot-1: what anybody has learned
	fences  []consensus.Epoch // by slot-1: the highest Orig up to there
	values  map[ballot]consensus.Entry
	first   consensus.Configuration
	onReady func(*host, *consensus.Ready)
	onFault func(string)
}

func newWorld(seed uint64) *world {
	return &world{
		rng:     rand.New(rand.NewPCG(seed, seed)),
		cut:     map[[2]consensus.ReplicaID]bool{},
		values:  map[ballot]consensus.Entry{},
		window:  8,
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
	h.view.entries, h.durable.entries = map[consensus.Index]consensus.Entry{}, map[consensus.Index]consensus.Entry{}
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
	if h.flushed.Index > h.view.decided {
		// What the log says of applied slots may be older than what was applied: the crash
		// may have taken the record of a value that was accepted last.
		h.view.release(h.flushed)
		h.durable = h.view.clone()
	}
	c.HardState = h.view.hard
	c.Log = consensus.LogState{
		Released: h.view.released.Index, ReleasedEpoch: h.view.released.Epoch,
		Configuration: h.view.released.Configuration, Decided: h.view.decided,
	}
	for i := h.view.released.Index + 1; i <= h.view.last(); i++ {
		e := h.view.entries[i] // a hole is all zero
		c.Log.Entries = append(c.Log.Entries, e.Info())
	}
	h.state = h.flushed
	h.learned, c.Applied = h.state.Index, h.state.Index
	m, err := New(c, w.window)
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
			wr.decided = 0
		}
		h.durable.perform(wr)
		if wr.install != nil {
			h.flushed = *wr.install
		}
	}
	h.m, h.writes = nil, nil
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
	if rd.Append.Truncate != 0 || rd.Append.Repaired {
		w.fault("host %v truncates or repairs: %+v", h.id, rd.Append)
	}
	wr := write{seq: rd.Append.Seq, decided: rd.Append.Decided, after: slices.Clone(rd.AfterSync)}
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
		h.writes = append(h.writes, write{install: rd.Install}) // the log as it is until then
		h.learned = rd.Install.Index
	}
	w.learn(h, rd.Learned)
	w.checkValues(h, wr.entries)
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
			w.checkLearnRule(h, &e)
			w.decided = append(w.decided, e)
			fence := e.Orig
			if i > 1 {
				fence = max(fence, w.fences[i-2])
			}
			w.fences = append(w.fences, fence)
			w.checkHandover(h, &e)
		case !sameEntry(e, w.decided[i-1]):
			w.fault("host %v learned %v at %d, another replica %v", h.id, e, i, w.decided[i-1])
		}
	}
	h.learned = span.Hi - 1
}

func sameEntry(a, b consensus.Entry) bool {
	return a.Index == b.Index && a.Orig == b.Orig && a.Kind == b.Kind && string(a.Data) == string(b.Data)
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
			h.view.perform(&wr)
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
		h.state.Index = e.Index
		if e.Orig < h.state.Epoch {
			continue // the fence
		}
		h.state.Epoch = e.Orig
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

// release cuts the log at or below i, but not above what is flushed.
func (w *world) release(h *host, i consensus.Index) {
	if w.installing(h) {
		return
	}
	h.flushed = h.state
	i = min(i, h.state.Index)
	if i <= h.view.released.Index {
		return
	}
	at := consensus.Snapshot{Index: i, Epoch: w.fences[i-1], Configuration: w.configurationAt(h, i)}
	h.view.release(at)
	h.durable.release(at)
	h.m.Done(consensus.Done{Released: i})
}

// configurationAt is the one of the last membership entry applied up to i.
func (w *world) configurationAt(h *host, i consensus.Index) consensus.Configuration {
	c := h.view.released.Configuration
	for k := h.view.released.Index + 1; k <= i; k++ {
		e := w.decided[k-1]
		if e.Kind == consensus.EntryMembership && e.Orig == w.fences[k-1] {
			c, _ = consensus.DecodeConfiguration(e.Data)
		}
	}
	return c
}

// deliver takes message k off the network and hands it to its addressee.
func (w *world) deliver(k int) error {
	msg := w.net[k]
	w.net = slices.Delete(w.net, k, k+1)
	return w.arrive(msg, msg.From == msg.To || !w.cut[[2]consensus.ReplicaID{msg.From, msg.To}])
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
	w.first = voters(ids...)
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
