package limit

import (
	"sync/atomic"
	"time"
)

// Penalty says how long a refusal is held back before it is sent. Clients that hear "too many
// requests" at once ask again at once: with 64 of them, refusals alone took all of two cores,
// and neighbours waited for theirs (bench/neighbours). A held one costs its memory, so there is
// a bound on them; above it they are sent at once, as before.
//
// The hold grows with their number, so that refusals cost the same for a hundred clients as for
// a thousand: one per holdEach.
type Penalty struct{ held atomic.Int64 }

const (
	holdMin  = 100 * time.Millisecond
	holdMax  = 2 * time.Second
	holdEach = 4 * time.Millisecond
	heldMax  = 4096
)

// Enter is followed by Leave when the time is over.
func (p *Penalty) Enter() time.Duration {
	n := p.held.Add(1)
	if n > heldMax {
		return 0
	}
	return min(max(time.Duration(n)*holdEach, holdMin), holdMax)
}

// Leave ends a hold.
func (p *Penalty) Leave() { p.held.Add(-1) }
