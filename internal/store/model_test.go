package store

import (
	"bytes"
	"maps"
	"slices"
	"sort"
)

// model is etcd in the plainest form that we could think of: the list of all
// changes ever made. Every read replays it. It shares no code with the store.
type model struct {
	rev, compacted int64
	changes        []modelChange
	leases         map[int64]Lease
	quota          Quota
}

type modelChange struct {
	KeyValue
	deleted bool
}

func newModel() *model {
	return &model{rev: 1, compacted: -1, leases: map[int64]Lease{}, quota: Quota{Bytes: QuotaDefaultBytes}}
}

// at returns the keys that exist at a revision.
func (m *model) at(rev int64) map[string]KeyValue {
	kvs := map[string]KeyValue{}
	for _, c := range m.changes {
		if c.ModRevision > rev {
			break
		}
		if c.deleted {
			delete(kvs, string(c.Key))
		} else {
			kvs[string(c.Key)] = c.KeyValue
		}
	}
	return kvs
}

func inRange(k string, key, end []byte) bool {
	switch {
	case len(end) == 0:
		return k == string(key)
	case bytes.Equal(end, []byte{0}):
		return k >= string(key)
	}
	return k >= string(key) && k < string(end)
}

// list returns the keys of a range at a revision, in order.
func (m *model) list(key, end []byte, rev int64) (out []KeyValue) {
	kvs := m.at(rev)
	for _, k := range slices.Sorted(maps.Keys(kvs)) {
		if inRange(k, key, end) {
			out = append(out, kvs[k])
		}
	}
	return out
}

// readRange answers a range at current revision cur, which inside a transaction
// runs ahead of m.rev.
func (m *model) readRange(r *RangeRequest, cur int64) (*RangeResponse, error) {
	rev := r.Revision
	switch {
	case rev > cur:
		return nil, ErrFutureRevision
	case rev <= 0:
		rev = cur
	case rev < m.compacted:
		return nil, ErrCompacted
	}
	all := m.list(r.Key, r.RangeEnd, rev)
	resp := &RangeResponse{Revision: cur, Count: int64(len(all))}
	if r.CountOnly {
		return resp, nil
	}
	bounded := r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0
	plain := r.SortOrder == SortNone || (r.SortOrder == SortAscend && r.SortTarget == SortByKey)
	if r.Limit > 0 && plain && !bounded && int64(len(all)) > r.Limit+1 {
		all = all[:r.Limit+1]
	}
	var kvs []KeyValue
	for _, kv := range all {
		if r.MaxModRevision != 0 && kv.ModRevision > r.MaxModRevision ||
			r.MinModRevision != 0 && kv.ModRevision < r.MinModRevision ||
			r.MaxCreateRevision != 0 && kv.CreateRevision > r.MaxCreateRevision ||
			r.MinCreateRevision != 0 && kv.CreateRevision < r.MinCreateRevision {
			continue
		}
		kvs = append(kvs, kv)
	}
	m.sort(kvs, r)
	if r.Limit > 0 && int64(len(kvs)) > r.Limit {
		kvs, resp.More = kvs[:r.Limit], true
	}
	if r.KeysOnly {
		kvs = slices.Clone(kvs)
		for i := range kvs {
			kvs[i].Value = nil
			if r.SortTarget != SortByValue {
				kvs[i].Lease = 0
			}
		}
	}
	resp.KVs = kvs
	return resp, nil
}

func (m *model) sort(kvs []KeyValue, r *RangeRequest) {
	if r.SortOrder == SortNone && r.SortTarget == SortByKey {
		return
	}
	less := func(i, j int) bool {
		a, b := kvs[i], kvs[j]
		switch r.SortTarget {
		case SortByVersion:
			return a.Version < b.Version
		case SortByCreate:
			return a.CreateRevision < b.CreateRevision
		case SortByMod:
			return a.ModRevision < b.ModRevision
		case SortByValue:
			return bytes.Compare(a.Value, b.Value) < 0
		}
		return bytes.Compare(a.Key, b.Key) < 0
	}
	if r.SortOrder == SortDescend {
		up := less
		less = func(i, j int) bool { return up(j, i) }
	}
	sort.Slice(kvs, less) // few keys here: insertion sort, as sort.Sort
}

// change appends a change of the revision under way.
func (m *model) change(kv KeyValue, deleted bool) {
	m.changes = append(m.changes, modelChange{kv, deleted})
}

func (m *model) put(r *PutRequest) *PutResponse {
	old, ok := m.at(m.rev + 1)[string(r.Key)]
	kv := KeyValue{
		Key: r.Key, Value: r.Value, Lease: r.Lease,
		CreateRevision: m.rev + 1, ModRevision: m.rev + 1, Version: 1,
	}
	if ok {
		kv.CreateRevision, kv.Version = old.CreateRevision, old.Version+1
	}
	if r.IgnoreValue {
		kv.Value = old.Value
	}
	if r.IgnoreLease {
		kv.Lease = old.Lease
	}
	m.change(kv, false)
	resp := &PutResponse{Revision: m.rev + 1}
	if r.PrevKV && ok {
		resp.PrevKV = &old
	}
	return resp
}

func (m *model) checkPut(r *PutRequest) error {
	if _, ok := m.leases[r.Lease]; r.Lease != 0 && !ok {
		return ErrLeaseNotFound
	}
	if _, ok := m.at(m.rev)[string(r.Key)]; (r.IgnoreValue || r.IgnoreLease) && !ok {
		return ErrKeyNotFound
	}
	return nil
}

func (m *model) deleteRange(r *DeleteRangeRequest) *DeleteRangeResponse {
	resp := &DeleteRangeResponse{}
	for _, kv := range m.list(r.Key, r.RangeEnd, m.rev+1) {
		m.change(KeyValue{Key: kv.Key, ModRevision: m.rev + 1}, true)
		resp.Deleted++
		if r.PrevKV {
			resp.PrevKVs = append(resp.PrevKVs, kv)
		}
	}
	resp.Revision = m.cur()
	return resp
}

// cur is the revision that reads see in the middle of a command.
func (m *model) cur() int64 {
	if n := len(m.changes); n > 0 && m.changes[n-1].ModRevision > m.rev {
		return m.rev + 1
	}
	return m.rev
}

func (m *model) holds(c *Compare, kvs []KeyValue) bool {
	if len(kvs) == 0 {
		return c.Target != CompareValue && m.meets(c, KeyValue{})
	}
	for _, kv := range kvs {
		if !m.meets(c, kv) {
			return false
		}
	}
	return true
}

func (m *model) meets(c *Compare, kv KeyValue) bool {
	var order int
	sign := func(a, b int64) int { return bytes.Compare(order64(a), order64(b)) }
	switch c.Target {
	case CompareVersion:
		order = sign(kv.Version, c.Number)
	case CompareCreate:
		order = sign(kv.CreateRevision, c.Number)
	case CompareMod:
		order = sign(kv.ModRevision, c.Number)
	case CompareValue:
		order = bytes.Compare(kv.Value, c.Value)
	case CompareLease:
		order = sign(kv.Lease, c.Number)
	}
	return map[CompareResult]bool{
		CompareEqual: order == 0, CompareNotEqual: order != 0,
		CompareGreater: order > 0, CompareLess: order < 0,
	}[c.Result]
}

// order64 maps numbers to bytes of the same order.
func order64(n int64) []byte {
	u := uint64(n) ^ 1<<63
	return []byte{byte(u >> 56), byte(u >> 48), byte(u >> 40), byte(u >> 32), byte(u >> 24), byte(u >> 16), byte(u >> 8), byte(u)}
}

// plan is a transaction with its comparisons decided.
type plan struct {
	ok     bool
	ops    []RequestOp
	nested []*plan // by operation
}

func (m *model) plan(r *TxnRequest) *plan {
	p := &plan{ok: true, ops: r.Success}
	for i := range r.Compare {
		if c := &r.Compare[i]; !m.holds(c, m.list(c.Key, c.RangeEnd, m.rev)) {
			p.ok, p.ops = false, r.Failure
			break
		}
	}
	for i := range p.ops {
		var n *plan
		if p.ops[i].Txn != nil {
			n = m.plan(p.ops[i].Txn)
		}
		p.nested = append(p.nested, n)
	}
	return p
}

// room takes a key that a put makes into account; made are those of the same command.
func (m *model) room(key []byte, made map[string]bool) error {
	now := m.at(m.rev)
	if _, ok := now[string(key)]; ok || m.quota.Keys == 0 {
		return nil
	}
	made[string(key)] = true
	if int64(len(now)+len(made)) > m.quota.Keys {
		return ErrNoSpace
	}
	return nil
}

func (m *model) check(p *plan, deleted, made map[string]bool) error {
	for i, op := range p.ops {
		var err error
		switch {
		case op.DeleteRange != nil:
			for k := range m.at(m.rev) {
				deleted[k] = deleted[k] || inRange(k, op.DeleteRange.Key, op.DeleteRange.RangeEnd)
			}
		case op.Range != nil && op.Range.Revision > m.rev:
			err = ErrFutureRevision
		case op.Range != nil && op.Range.Revision != 0 && op.Range.Revision < m.compacted:
			err = ErrCompacted
		case op.Put != nil:
			if err = m.room(op.Put.Key, made); err == nil {
				err = m.checkPut(op.Put)
			}
			if err == nil && (op.Put.IgnoreValue || op.Put.IgnoreLease) && deleted[string(op.Put.Key)] {
				err = ErrKeyNotFound // where etcd crashes
			}
		case op.Txn != nil:
			err = m.check(p.nested[i], deleted, made)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *model) run(p *plan) *TxnResponse {
	resp := &TxnResponse{Succeeded: p.ok, Responses: make([]ResponseOp, len(p.ops))}
	for i, op := range p.ops {
		out := &resp.Responses[i]
		switch {
		case op.Range != nil:
			out.Range, _ = m.readRange(op.Range, m.cur())
		case op.Put != nil:
			out.Put = m.put(op.Put)
		case op.DeleteRange != nil:
			out.DeleteRange = m.deleteRange(op.DeleteRange)
		case op.Txn != nil:
			out.Txn = m.run(p.nested[i])
		}
	}
	return resp
}

// do runs a command and returns its response or rejection.
func (m *model) do(b body, epoch uint64) (resp any, err error) {
	resp, err = m.dispatch(b, epoch)
	m.rev = m.cur()
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func (m *model) dispatch(b body, epoch uint64) (any, error) {
	switch r := b.(type) {
	case *PutRequest:
		if err := m.room(r.Key, map[string]bool{}); err != nil {
			return nil, err
		}
		if err := m.checkPut(r); err != nil {
			return nil, err
		}
		return m.put(r), nil
	case *DeleteRangeRequest:
		return m.deleteRange(r), nil
	case *TxnRequest:
		p := m.plan(r)
		if err := m.check(p, map[string]bool{}, map[string]bool{}); err != nil {
			return nil, err
		}
		resp := m.run(p)
		resp.Revision = m.cur()
		return resp, nil
	case *CompactRequest:
		switch {
		case r.Revision <= m.compacted:
			return nil, ErrCompacted
		case r.Revision > m.rev:
			return nil, ErrFutureRevision
		}
		m.compacted = r.Revision
		return &CompactResponse{Revision: m.rev}, nil
	case *LeaseGrantRequest:
		return m.grant(r)
	case *LeaseRevokeRequest:
		return m.revoke(r.ID)
	case *LeaseExpireRequest:
		if r.Epoch != epoch {
			return nil, ErrLeaseExpireVoid
		}
		return m.revoke(r.ID)
	case *LeaseCheckpointRequest:
		if l, ok := m.leases[r.ID]; ok {
			l.RemainingSeconds = r.RemainingSeconds
			m.leases[r.ID] = l
		}
		return &LeaseCheckpointResponse{Revision: m.rev}, nil
	case *SetQuotaRequest:
		m.quota = Quota(*r)
		return &SetQuotaResponse{Revision: m.rev}, nil
	}
	panic("unknown command")
}

func (m *model) grant(r *LeaseGrantRequest) (any, error) {
	_, exists := m.leases[r.ID]
	switch {
	case r.ID == 0:
		return nil, ErrLeaseNotFound
	case r.TTLSeconds > LeaseTTLMaxSeconds:
		return nil, ErrLeaseTTLTooLarge
	case exists:
		return nil, ErrLeaseExists
	case m.quota.Leases > 0 && int64(len(m.leases)) >= m.quota.Leases:
		return nil, ErrTooManyLeases
	}
	l := Lease{ID: r.ID, TTLSeconds: max(r.TTLSeconds, r.TTLMinSeconds)}
	m.leases[r.ID] = l
	return &LeaseGrantResponse{Revision: m.rev, ID: l.ID, TTLSeconds: l.TTLSeconds}, nil
}

func (m *model) revoke(id int64) (any, error) {
	if _, ok := m.leases[id]; !ok {
		return nil, ErrLeaseNotFound
	}
	delete(m.leases, id)
	for _, key := range m.attached(id) {
		m.change(KeyValue{Key: key, ModRevision: m.rev + 1}, true)
	}
	return &LeaseRevokeResponse{Revision: m.cur()}, nil
}

func (m *model) attached(id int64) (keys [][]byte) {
	for _, kv := range m.list([]byte{0}, []byte{0}, m.rev) {
		if kv.Lease == id {
			keys = append(keys, kv.Key)
		}
	}
	return keys
}
