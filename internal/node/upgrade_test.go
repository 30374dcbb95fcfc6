package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/internal/env"
	"github.com/quorate/quorate/internal/wal"
)

// waitLevel waits until every running node has applied a feature level.
func (c *cluster) waitLevel(level uint32) {
	c.t.Helper()
	c.eventually(fmt.Sprintf("level %d everywhere", level), func() bool {
		for _, n := range c.nodes {
			if n != nil && n.Level() != level {
				return false
			}
		}
		return true
	})
}

func (c *cluster) eventually(what string, done func() bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for !done() {
		select {
		case <-ctx.Done():
			c.t.Fatalf("not in 20 s: %s", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Goal: a cluster goes from one build to the next, a node at a time, and serves
// throughout; the feature level rises only when every member knows it; and then
// the old build is told that it is too old.
func TestRollingUpgradeRaisesTheLevelLast(t *testing.T) {
	const old, next = MaxLevel, MaxLevel + 1
	c := newCluster(t, 3)
	c.startAll()
	c.waitLevel(old)
	for i := range c.cfgs {
		c.put(i, fmt.Sprintf("before-%d", i), "x")
		c.stop(i)
		c.put((i+1)%3, fmt.Sprintf("during-%d", i), "x")
		c.cfgs[i].MinLevel, c.cfgs[i].MaxLevel = old, next
		c.start(i)
		if got := c.get(i, fmt.Sprintf("during-%d", i)); got != "x" {
			t.Fatalf("upgraded node %d does not see what was written meanwhile: %q", i, got)
		}
		if i < 2 && c.nodes[i].Level() > old {
			t.Fatalf("level %d while node 2 knows only %d", c.nodes[i].Level(), old)
		}
	}
	c.waitLevel(next)
	c.stop(0)
	c.cfgs[0].MinLevel, c.cfgs[0].MaxLevel = old, old
	cfg := c.cfgs[0]
	cfg.Seed = env.Seed()
	n, err := Start(context.Background(), cfg)
	if err == nil {
		c.nodes[0] = n
		select {
		case err = <-n.Failed():
		case <-time.After(10 * time.Second):
		}
	}
	if err == nil || !strings.Contains(err.Error(), "feature level") {
		t.Fatalf("the old build starts in the new cluster: %v", err)
	}
	if n != nil {
		_ = n.Close()
		c.nodes[0] = nil
	}
	c.put(1, "after", "x")
}

// Goal: a member whose disk was lost does not come back under its old identity.
func TestWipedMemberIsRefused(t *testing.T) {
	c := newCluster(t, 3)
	c.startAll()
	c.put(0, "a", "x")
	c.stop(1)
	c.cfgs[1].DataDir = t.TempDir()
	cfg := c.cfgs[1]
	cfg.Seed = env.Seed()
	n, err := Start(context.Background(), cfg)
	if err == nil {
		_ = n.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "has already been bootstrapped") {
		t.Fatalf("wiped member: %v", err)
	}
	c.put(0, "b", "y")
}

// Goal: a member whose log was removed does not start with an empty one.
func TestMissingLogIsRefused(t *testing.T) {
	c := newCluster(t, 1)
	c.startAll()
	c.put(0, "a", "x")
	c.stop(0)
	if err := os.RemoveAll(filepath.Join(c.cfgs[0].DataDir, "wal")); err != nil {
		t.Fatal(err)
	}
	n, err := Start(context.Background(), c.cfgs[0])
	if err == nil {
		_ = n.Close()
	}
	if !errors.Is(err, wal.ErrMissing) {
		t.Fatalf("start without the log: %v", err)
	}
}
