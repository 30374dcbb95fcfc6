package node

import (
	"cmp"
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/store"
)

// What work takes of a processor, about. Only the proportions matter where the system says what
// the process takes: that is divided by them.
const (
	requestWork = 40 * time.Microsecond // take a client's request and answer it
	entryWork   = 15 * time.Microsecond // write, apply
	leadWork    = 30 * time.Microsecond // besides: propose, send, count answers
	byteWork    = 2 * time.Nanosecond
)

// Periods and bounds of the load's report.
const (
	loadPeriodDefault = 10 * time.Second
	// loadTimeout bounds one report: without a quorum the housekeeping must go on.
	loadTimeout = time.Second
	// Less than this in a second is not reported: idle clusters write nothing.
	noticedRequests = 20
	noticedWork     = 10 * time.Millisecond
	// The newest revisions of the system keyspace that are kept: nobody reads older ones, and
	// each node's reports would add 30 MB in a day.
	systemHistory = 1000
)

// traffic counts what reaches a keyspace on this node. Reads that are confirmed pass a barrier and
// then, if they ask for a key, the newest records; others pass one of these.
type traffic struct {
	commands, barriers, ranges, bytes atomic.Uint64
}

// tally is a traffic at one moment.
type tally struct{ requests, bytes, entries uint64 }

// load is a keyspace's, as measured from one period to the next; the meter's own.
type load struct {
	last  tally
	known bool // last is
	// In a second, smoothed.
	requests, bytes, work float64
}

// meter measures what a node has to do and reports it. It is the housekeeper's own.
type meter struct {
	n    *Node
	at   time.Duration // of the last measurement
	used time.Duration // of processors, until then
	cpu  float64       // cores, smoothed
}

func newMeter(n *Node) *meter {
	m := &meter{n: n, at: n.cfg.Clock.Monotonic()}
	if n.cfg.CPU != nil {
		m.used = n.cfg.CPU.Used()
	}
	return m
}

func (t *traffic) tally(entries uint64) tally {
	return tally{requests: t.commands.Load() + max(t.barriers.Load(), t.ranges.Load()), bytes: t.bytes.Load(), entries: entries}
}

// smooth lets half of what was go in each period: after three, what counts is what is now.
func smooth(old, now float64) float64 { return (old + now) / 2 }

// tick measures and reports if it is time.
func (m *meter) tick(ctx context.Context) error {
	now := m.n.cfg.Clock.Monotonic()
	if now-m.at < m.n.cfg.loadPeriod {
		return nil
	}
	seconds := (now - m.at).Seconds()
	m.at = now
	if cpu := m.n.cfg.CPU; cpu != nil {
		used := cpu.Used()
		m.cpu = smooth(m.cpu, (used-m.used).Seconds()/seconds)
		m.used = used
	}
	report, noticed := m.measure(seconds)
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	if err := m.n.compactSystem(ctx); err != nil {
		return err
	}
	return m.publish(ctx, report, noticed)
}

// measure makes the report, and says whether there is anything in it. The system keyspace is
// not measured: its load is the cluster's own, and it is not moved for it.
func (m *meter) measure(seconds float64) (report placement.Load, noticed bool) {
	var busy []*Keyspace
	var requests, work float64
	for _, k := range m.n.keyspaces.all() {
		if k.shard == SystemShard {
			continue
		}
		k.load.measure(k, seconds)
		if k.load.work >= 1 {
			busy = append(busy, k)
			requests, work = requests+k.load.requests, work+k.load.work
		}
	}
	if requests < noticedRequests && work < float64(noticedWork) {
		return report, false
	}
	slices.SortStableFunc(busy, func(a, b *Keyspace) int { return cmp.Compare(b.load.work, a.load.work) })
	cores := m.cpu
	if m.n.cfg.CPU == nil {
		cores = work / float64(time.Second)
	}
	report = placement.Load{At: m.n.cfg.Clock.Now().Unix(), CPU: uint64(cores * 1000)}
	var rest load
	for i, k := range busy {
		if i < placement.LoadShardsMax {
			report.Shards = append(report.Shards, k.load.part(uint64(k.shard), cores/work))
			continue
		}
		rest.requests, rest.bytes, rest.work = rest.requests+k.load.requests, rest.bytes+k.load.bytes, rest.work+k.load.work
	}
	report.Rest = rest.part(0, cores/work)
	return report, true
}

// measure takes up what has come since the last time.
func (l *load) measure(k *Keyspace, seconds float64) {
	status := k.status.Load()
	now, last := k.traffic.tally(status.AppliedIndex), l.last
	if !l.known {
		last.entries = now.entries // what was applied before it was opened here
	}
	l.last, l.known = now, true
	requests, bytes := float64(now.requests-last.requests)/seconds, float64(now.bytes-last.bytes)/seconds
	each := float64(entryWork)
	if status.Leads {
		each += float64(leadWork)
	}
	entries := float64(now.entries-last.entries) / seconds
	work := requests*float64(requestWork) + entries*each + bytes*float64(byteWork)
	l.requests, l.bytes, l.work = smooth(l.requests, requests), smooth(l.bytes, bytes), smooth(l.work, work)
}

// part is the load in a report, if a nanosecond of work in a second costs so many cores.
func (l *load) part(shard uint64, cores float64) placement.ShardLoad {
	return placement.ShardLoad{ID: shard, Requests: uint64(l.requests), Bytes: uint64(l.bytes), Cost: uint64(l.work * cores * 1000)}
}

// publish writes the report, if there is one, or if there was one.
func (m *meter) publish(ctx context.Context, report placement.Load, noticed bool) error {
	id := uint64(m.n.identity.Node)
	m.n.catalog.mu.Lock()
	old, _ := m.n.catalog.mu.catalog.Load(id)
	self, member := m.n.catalog.mu.catalog.Member(id)
	m.n.catalog.mu.Unlock()
	if !member || !noticed && len(old.Shards) == 0 {
		return nil
	}
	if !noticed {
		report = placement.Load{At: m.n.cfg.Clock.Now().Unix()}
	}
	_, _, err := m.n.systemTxn(ctx, &store.TxnRequest{ // a node that is removed leaves nothing behind
		Compare: []store.Compare{unchanged(placement.MemberKey(id), self.Revision)},
		Success: []store.RequestOp{put(placement.LoadKey(id), report.Encode())},
	})
	return err
}

// compactSystem is the system keyspace's leader's duty.
func (n *Node) compactSystem(ctx context.Context) error {
	k := n.keyspaces.own(SystemKeyspace)
	if !k.status.Load().Leads {
		return nil
	}
	head := k.DB().Head()
	if head.Revision-head.Compacted < 2*systemHistory {
		return nil
	}
	return k.compact(ctx, head.Revision-systemHistory)
}
