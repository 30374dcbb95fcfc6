package sim

import (
	"reflect"
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/engine"
	"github.com/quorate/quorate/internal/mvcc"
	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/store"
)

// oracle is a shard's authoritative history: a store of its own, without faults,
// to which every entry is applied once, when it is decided. Whatever a replica, a
// client or a watcher sees is compared with it at the same index. It uses the
// production store, whose own semantics are proven against a naive model in its
// package; what it judges is everything between that store and the client.
type oracle struct {
	s        *Sim
	id       shard.ID
	store    *store.Store
	watcher  *mvcc.Watcher
	steps    []oracleStep // by index, from 1
	events   []*mvcc.Event
	requests map[store.RequestID]uint64
}

// oracleStep is what one decided entry did.
type oracleStep struct {
	hash     uint64
	revision int64
	err      error
	response any
	request  store.RequestID
	view     *store.View // the state after it; views share what they have in common
	state    uint64      // View.Hash, once it was asked for
	hashed   bool
}

func newOracle(s *Sim, id shard.ID) *oracle {
	o := &oracle{s: s, id: id, requests: make(map[store.RequestID]uint64)}
	var err error
	if o.store, err = store.Open(engine.NewMemory(), id, store.Options{}); err != nil {
		s.violate("oracle", "shard %d: %v", id, err)
	}
	all := []byte{0}
	if o.watcher, err = o.store.DB().Watch(mvcc.WatchRequest{Key: all, End: all, PrevKV: true}, func() {}); err != nil {
		s.violate("oracle", "shard %d: %v", id, err)
	}
	return o
}

// decide applies the next decided entry.
func (o *oracle) decide(e *consensus.Entry) {
	kind := store.EntryCommand
	switch e.Kind {
	case consensus.EntryBarrier:
		kind = store.EntryBarrier
	case consensus.EntryMembership:
		kind = store.EntryMembership
	}
	entries := []store.Entry{{Index: uint64(e.Index), Epoch: uint64(e.Orig), Kind: kind, Data: e.Data}}
	err := o.store.Apply(entries, func(store.RequestID) bool { return true }, o.took)
	if err != nil {
		o.s.violate("oracle", "shard %d entry %d: %v", o.id, e.Index, err)
	}
	view, err := o.store.View()
	if err != nil {
		o.s.violate("oracle", "shard %d entry %d: %v", o.id, e.Index, err)
	}
	o.steps[len(o.steps)-1].view = view
	o.drain()
}

// took records a result: each request at most once, revisions in order.
func (o *oracle) took(r *store.Result) {
	o.steps = append(o.steps, oracleStep{hash: r.Hash, revision: r.Revision, err: r.Err, response: r.Response, request: r.Request})
	if r.Request.Node != 0 {
		if first, twice := o.requests[r.Request]; twice {
			o.s.violate("at-most-once", "shard %d request %v (%v) is decided at %d and again at %d", o.id, r.Request, r.Kind, first, r.Index)
		}
		o.requests[r.Request] = r.Index
	}
	if n := len(o.steps); n > 1 && r.Revision < o.steps[n-2].revision {
		o.s.violate("revision", "shard %d entry %d: revision %d follows %d", o.id, r.Index, r.Revision, o.steps[n-2].revision)
	}
	switch {
	case r.Err != nil:
	case r.Kind == store.KindLeaseExpire:
		o.s.check.leases.expired(o.id, r.Lease)
	case r.Kind == store.KindLeaseRevoke:
		o.s.check.leases.revoked(o.id, r.Lease)
	}
	if r.Kind == store.KindLeaseExpire {
		o.s.report.count("op lease expiry " + errorText(r.Err))
	}
}

// drain takes the events of the last entry.
func (o *oracle) drain() {
	for {
		b, err := o.watcher.Next(1000)
		if err != nil {
			o.s.violate("oracle", "shard %d: %v", o.id, err)
		}
		o.events = append(o.events, b.Events...)
		if o.s.moves != nil && o.id == systemShard {
			o.s.moves.recorded(b.Events)
		}
		if !b.More {
			return
		}
	}
}

func (o *oracle) head() uint64 { return uint64(len(o.steps)) }

// at is the entry at an index, which must be decided.
func (o *oracle) at(i uint64) *oracleStep {
	if i == 0 || i > o.head() {
		o.s.violate("apply", "shard %d: index %d was applied, decided is %d", o.id, i, o.head())
	}
	return &o.steps[i-1]
}

// revisionAt is the revision after the entry at an index; 1 before the first.
func (o *oracle) revisionAt(i uint64) int64 {
	if i == 0 {
		return 1
	}
	return o.at(i).revision
}

// stateHash is the hash of the whole state after the entry at an index.
func (o *oracle) stateHash(i uint64) uint64 {
	step := o.at(i)
	if !step.hashed {
		hash, err := step.view.Hash()
		if err != nil {
			o.s.violate("oracle", "shard %d: hash at %d: %v", o.id, i, err)
		}
		step.state, step.hashed = hash, true
	}
	return step.state
}

// compare judges what a replica's store said of an entry.
func (o *oracle) compare(who string, r *store.Result) {
	want := o.at(r.Index)
	if r.Hash != want.hash || r.Revision != want.revision {
		o.s.violate("result-hash", "shard %d entry %d (%v): %s got revision %d hash %x, the history has %d and %x",
			o.id, r.Index, r.Kind, who, r.Revision, r.Hash, want.revision, want.hash)
	}
	if r.Response != nil && !reflect.DeepEqual(r.Response, want.response) {
		o.s.violate("response", "shard %d entry %d (%v): %s answers %+v, the history has %+v",
			o.id, r.Index, r.Kind, who, r.Response, want.response)
	}
}

// errorText names an outcome in counts; nil is "ok".
func errorText(err error) string {
	if err == nil {
		return "ok"
	}
	return rootText(err)
}

// rootText is the text of an error's innermost cause, which has no numbers in it.
func rootText(err error) string {
	for {
		switch x := err.(type) { //nolint:errorlint // walks the tree itself
		case interface{ Unwrap() error }:
			if x.Unwrap() == nil {
				return err.Error()
			}
			err = x.Unwrap()
		case interface{ Unwrap() []error }:
			if len(x.Unwrap()) == 0 {
				return err.Error()
			}
			err = x.Unwrap()[0]
		default:
			return err.Error()
		}
	}
}

// never is a time that does not come.
const never = time.Duration(1<<63 - 1)
