package node

import (
	"flag"
	"fmt"
	"testing"
	"time"
)

var scale = flag.Int("node.scale", 60, "keyspaces in TestManyKeyspaces; 5000 take a minute or two")

// Goal: many keyspaces rest soon after they were created, and one that rests takes a write
// like any other. (bench/keyspaces says what they cost.)
func TestManyKeyspaces(t *testing.T) {
	c := newCluster(t, 3)
	c.startAll()
	start := time.Now()
	for i := range *scale {
		c.create(i%3, fmt.Sprintf("k%d", i))
	}
	t.Logf("%d created in %v", *scale, time.Since(start))
	for i := range c.nodes {
		eventually(t, "all rest", func() bool {
			n := 0
			if err := c.nodes[i].onLoop(func() error { n = c.nodes[i].host.Resting(); return nil }); err != nil {
				t.Fatal(err)
			}
			return n >= *scale
		})
	}
	start = time.Now()
	c.in(1, "k7").testPut(t, "a", "b")
	t.Logf("first write to one that rests: %v", time.Since(start))
	if got := c.in(2, "k7").testGet(t, "a"); got != "b" {
		t.Errorf("a is %q", got)
	}
}
