package mvcc

// Newest is what the newest published state says of one key.
type Newest struct {
	Revision int64    // of the state
	KV       KeyValue // the caller's; its key is the one asked for
	Exists   bool
}

// Newest reads one key without a View, from the cache alone, and reports whether it
// could. Most reads are of this kind, and a snapshot of the engine, with a look at
// the head in it, costs more than all the rest of such a read.
//
// The record is right for the published head: it is the newest at that head or newer
// (M10), and not newer when its revision is not above it. While a commit is not yet
// published there is no answer: Views may show it already, and whoever has seen its
// revision must not see an earlier one afterwards.
func (db *DB) Newest(key []byte) (n Newest, ok bool) {
	generation := db.generation.Load()
	if db.committing.Load() {
		return n, false
	}
	n.Revision = db.Head().Revision
	record, ok := db.opts.Cache.get(db.salt.Load(), key, nil)
	if !ok {
		return n, false
	}
	var v version
	current, err := decodeCached(record, n.Revision, &v)
	if err != nil || !current || db.fence(generation, nil) != nil {
		return n, false
	}
	n.KV, n.Exists = v.KeyValue, !v.tombstone
	n.KV.Key = key
	return n, true
}
