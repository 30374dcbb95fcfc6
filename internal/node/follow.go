package node

import (
	"context"

	"github.com/quorate/quorate/internal/mvcc"
	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/store"
)

// restart gives the watcher up; the next look begins with the whole state.
func (c *carrier) restart() {
	if c.watcher != nil {
		c.watcher.Close()
		c.watcher = nil
	}
}

// follow takes over what is new in the system keyspace.
func (c *carrier) follow() error {
	if c.watcher == nil {
		if err := c.load(); err != nil {
			return err
		}
	}
	for {
		batch, err := c.watcher.Next(watchBatch)
		if err != nil {
			return err
		}
		if err := c.take(batch.Events); err != nil {
			return err
		}
		if batch.Revision > 0 && !batch.Partial {
			c.advance(batch.Revision)
		}
		if !batch.More {
			return nil
		}
	}
}

// load reads the whole catalog and watches what comes behind it.
func (c *carrier) load() error {
	system := c.n.keyspaces.own(SystemKeyspace)
	view, err := system.View()
	if err != nil {
		return err
	}
	defer view.Close()
	all := store.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}
	res, err := view.Range(&all)
	if err != nil {
		return err
	}
	catalog := c.n.newCatalog()
	c.unread = nil
	for _, kv := range res.KVs {
		if _, err := catalog.Put(kv.Key, kv.Value, kv.ModRevision); err != nil {
			c.cannotRead(kv.Key, err)
		}
	}
	revision := view.Revision()
	c.watcher, err = system.DB().Watch(mvcc.WatchRequest{Key: all.Key, End: all.RangeEnd, Start: revision + 1}, c.rouse)
	if err != nil {
		return err
	}
	for _, k := range c.n.keyspaces.all() {
		if k.shard != SystemShard {
			c.todo[k.name] = true
		}
	}
	for _, k := range catalog.All() {
		c.todo[k.Name] = true
	}
	c.nodes = true
	c.mu.Lock()
	catalog.Follow(c.mu.catalog)
	c.mu.catalog = catalog
	c.mu.Unlock()
	c.advance(revision)
	return nil
}

// rouse tells run that there is news; any goroutine may call it.
func (c *carrier) rouse() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// take takes events over.
func (c *carrier) take(events []*mvcc.Event) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range events {
		name, err := "", error(nil)
		if e.Delete {
			name = c.mu.catalog.Delete(e.KV.Key)
		} else {
			name, err = c.mu.catalog.Put(e.KV.Key, e.KV.Value, e.KV.ModRevision)
		}
		if err != nil {
			c.cannotRead(e.KV.Key, err)
			continue
		}
		delete(c.unread, string(e.KV.Key))
		if name != "" {
			c.todo[name] = true
		}
		c.nodes = c.nodes || placement.OfMember(e.KV.Key)
	}
	return nil
}

// cannotRead notes a record that this program does not understand: a newer one has written it, or
// somebody by hand. The rest goes on; but what this node has of unknown shards may be that record's, so
// nothing is erased any more.
func (c *carrier) cannotRead(key []byte, err error) {
	if c.unread == nil {
		c.unread = make(map[string]bool)
	}
	c.unread[string(key)] = true
	c.n.cfg.Logger.Error("a record of the catalog cannot be read: start a newer version, or write it anew", "key", string(key), "error", err)
}

// advance says that the catalog is that of a revision.
func (c *carrier) advance(revision int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if revision > c.mu.revision {
		c.mu.revision = revision
		close(c.mu.changed)
		c.mu.changed = make(chan struct{})
	}
}

// await waits until the catalog is that of a revision or a later one.
func (c *carrier) await(ctx context.Context, revision int64) error {
	for {
		c.mu.Lock()
		reached, changed := c.mu.revision >= revision, c.mu.changed
		c.mu.Unlock()
		if reached {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-c.n.ctx.Done():
			return errStopping
		}
	}
}

// record is what the catalog says of a keyspace, as of now. Its slices are not written.
func (c *carrier) record(name string) (placement.Keyspace, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.catalog.Keyspace(name)
}
