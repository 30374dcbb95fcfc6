package router

import (
	"testing"

	"github.com/quorate/quorate/internal/shard"
)

// Goal: nodes come and go for years, and a router has no number for one too many: it refuses that
// one, and goes on serving the others.
func TestMoreNodesThanNumbers(t *testing.T) {
	r := New(Config{Node: 1})
	for n := 2; n <= maxNodes; n++ {
		if i, ok := r.indexOf(shard.NodeID(n)); !ok || i != n-1 {
			t.Fatalf("node %d has number %d, %v", n, i, ok)
		}
	}
	if _, ok := r.indexOf(maxNodes + 1); ok {
		t.Error("one too many has a number")
	}
	if i, ok := r.indexOf(7); !ok || i != 6 {
		t.Errorf("node 7 has number %d now, %v", i, ok)
	}
}
