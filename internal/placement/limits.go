package placement

import "fmt"

// Limits bound what one keyspace may take from those beside it. A field that is zero is no
// limit. In a Spec and in a Change -1 is none, too; in a Change zero leaves what there is.
type Limits struct {
	// Keys and Leases are how many there may be. The keyspace's replicas decide on them, alike.
	Keys   int64 `json:"keys,omitempty"`
	Leases int64 `json:"leases,omitempty"`
	// The others are kept by each node that answers, for itself: a keyspace has no more of them
	// than nodes that carry it.
	Watchers          int64 `json:"watchers,omitempty"`
	RequestsPerSecond int64 `json:"requestsPerSecond,omitempty"`
	BytesPerSecond    int64 `json:"bytesPerSecond,omitempty"` // of requests
}

// Bounds of limits.
const (
	// LimitMax is the highest of each; more is as good as none.
	LimitMax = 1 << 40
	// BytesPerSecondMin lets a request of the largest size pass within half a minute.
	BytesPerSecondMin = 64 << 10
)

// with is l after a change.
func (l Limits) with(change *Limits) (Limits, error) {
	for _, f := range []struct {
		what      string
		least     int64
		wanted    int64
		effective *int64
	}{
		{"keys", 1, change.Keys, &l.Keys},
		{"leases", 1, change.Leases, &l.Leases},
		{"watchers", 1, change.Watchers, &l.Watchers},
		{"requests per second", 1, change.RequestsPerSecond, &l.RequestsPerSecond},
		{"bytes per second", BytesPerSecondMin, change.BytesPerSecond, &l.BytesPerSecond},
	} {
		switch {
		case f.wanted == 0:
		case f.wanted == -1:
			*f.effective = 0
		case f.wanted < f.least || f.wanted > LimitMax:
			return l, fmt.Errorf("%w: a limit of %d %s: use %d to %d, or -1 for none", ErrInvalid, f.wanted, f.what, f.least, int64(LimitMax))
		default:
			*f.effective = f.wanted
		}
	}
	return l, nil
}
