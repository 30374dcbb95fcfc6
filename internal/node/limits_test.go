package node

import (
	"testing"

	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/store"
)

// Goal: limits go with the keyspace, from its creation and after a change, to every node that
// carries it: those that replicas decide on by the log, the others by the record.
func TestKeyspaceLimits(t *testing.T) {
	c := newCluster(t, 3)
	c.startAll()
	wanted := placement.Limits{Keys: 5, Leases: 3, RequestsPerSecond: 7}
	if _, err := c.nodes[0].CreateKeyspace(patience(t), placement.Spec{Name: "a", Limits: wanted}); err != nil {
		t.Fatal(err)
	}
	everywhere := func(what string, quota store.Quota) {
		t.Helper()
		eventually(t, what, func() bool {
			for i := range c.nodes {
				k := c.in(i, "a")
				view, err := k.View()
				if err != nil {
					t.Fatal(err)
				}
				got, err := view.Quota()
				if view.Close(); err != nil {
					t.Fatal(err)
				}
				if got != quota || k.Limiter().Get() != wanted {
					return false
				}
			}
			return true
		})
	}
	everywhere("the limits are there", store.Quota{Bytes: placement.QuotaBytesDefault, Keys: 5, Leases: 3})
	wanted = placement.Limits{Leases: 3, RequestsPerSecond: 7, Watchers: 2}
	if _, err := c.nodes[1].UpdateKeyspace(patience(t), "a", placement.Change{Limits: placement.Limits{Keys: -1, Watchers: 2}}); err != nil {
		t.Fatal(err)
	}
	everywhere("the limits are the new ones", store.Quota{Bytes: placement.QuotaBytesDefault, Leases: 3})
}
