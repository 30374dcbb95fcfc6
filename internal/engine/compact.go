package engine

import (
	"context"
	"fmt"
)

// Compact rewrites what deletions have made obsolete, so that the disk gets its
// space back now and not when compaction would come by. It is costly, needs some
// free space itself, and blocks: call it when space is short.
func (p *Pebble) Compact() error {
	if err := p.Flush(); err != nil {
		return err
	}
	// Shard prefixes are eight bytes and never all ones.
	upper := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	if err := p.db.Compact(context.Background(), nil, upper, false); err != nil {
		return fmt.Errorf("engine: compact %s: %w", p.dir, err)
	}
	return nil
}
