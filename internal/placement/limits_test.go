package placement

import (
	"errors"
	"strings"
	"testing"
)

// Goal: a change touches the limits that it names alone, -1 takes one away, and a record keeps
// them; what is out of bounds is refused in a sentence that names the bounds.
func TestLimits(t *testing.T) {
	c := NewCatalog()
	k, err := c.Create(Spec{Name: "a", Limits: Limits{Keys: 10, Leases: -1, RequestsPerSecond: 100}}, testCluster(3))
	if err != nil {
		t.Fatal(err)
	}
	write(t, c, &k)
	for _, step := range []struct{ change, want Limits }{
		{Limits{}, Limits{Keys: 10, RequestsPerSecond: 100}},
		{Limits{Keys: -1, Watchers: 5, Leases: LimitMax}, Limits{Watchers: 5, Leases: LimitMax, RequestsPerSecond: 100}},
		{Limits{BytesPerSecond: BytesPerSecondMin, RequestsPerSecond: 1}, Limits{Watchers: 5, Leases: LimitMax, RequestsPerSecond: 1, BytesPerSecond: BytesPerSecondMin}},
	} {
		if k, err = c.Update("a", Change{Limits: step.change}); err != nil {
			t.Fatal(err)
		}
		write(t, c, &k)
		if got, _ := c.Keyspace("a"); got.Limits != step.want {
			t.Fatalf("after %+v: %+v, want %+v", step.change, got.Limits, step.want)
		}
	}
	for _, bad := range []Limits{{Keys: -2}, {Leases: LimitMax + 1}, {Watchers: -5}, {RequestsPerSecond: 1 << 50}, {BytesPerSecond: 1000}} {
		_, err := c.Update("a", Change{Limits: bad})
		if _, alsoErr := c.Create(Spec{Name: "b", Limits: bad}, testCluster(3)); !errors.Is(err, ErrInvalid) || !errors.Is(alsoErr, ErrInvalid) {
			t.Errorf("%+v: %v, %v", bad, err, alsoErr)
		} else if !strings.Contains(err.Error(), "-1 for none") {
			t.Error(err)
		}
	}
}
