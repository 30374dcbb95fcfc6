package node

import (
	"sync"
	"testing"

	"github.com/quorate/quorate/internal/router"
)

// Goal: an event is dealt with by whoever brings it when the node is quiet, nobody else
// has the turn and the event is of a kind that may; else the loop is woken. Never is one
// left behind.
func TestWhoTakesTheTurn(t *testing.T) {
	for _, c := range []struct {
		name       string
		kind       eventKind
		quiet, has bool // has: somebody has the turn
		turns      int
		woken      bool
	}{
		{"quiet", eventDurable, true, false, 1, false},
		{"busy", eventDurable, false, false, 0, true},
		{"turn is taken", eventSubmit, true, true, 1, true},
		{"rare", eventCall, true, false, 0, true},
		{"brought under a lock", eventPeer, true, false, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m *mailbox
			turns, taken := 0, 0
			m = newMailbox(func() bool {
				turns++
				if c.has {
					return false
				}
				taken += len(m.take(nil))
				return true
			})
			m.quiet.Store(c.quiet)
			if !m.post(event{kind: c.kind}) {
				t.Fatal("the mailbox is closed")
			}
			if turns != c.turns || (len(m.wake) == 1) != c.woken || taken == 0 && !c.woken {
				t.Errorf("%d turns, %d events taken, woken %v", turns, taken, len(m.wake) == 1)
			}
		})
	}
}

// Goal: no event is lost or dealt with twice, whoever takes the turns. Method: many
// goroutines bring events to a node that changes between quiet and busy.
func TestTurnsLoseNothing(t *testing.T) {
	var turn sync.Mutex
	taken := 0
	var m *mailbox
	step := func() {
		events := m.take(nil)
		taken += len(events)
		m.quiet.Store(taken%3 > 0)
	}
	m = newMailbox(func() bool {
		if !turn.TryLock() {
			return false
		}
		step()
		turn.Unlock()
		return true
	})
	const goroutines, each = 8, 2000
	var posters sync.WaitGroup
	for range goroutines {
		posters.Go(func() {
			for range each {
				for m.postClient(event{kind: eventSubmit}) == router.ErrTooManyRequests {
				}
			}
		})
	}
	var loop sync.WaitGroup
	stop := make(chan struct{})
	loop.Go(func() {
		for {
			select {
			case <-m.wake:
				turn.Lock()
				step()
				turn.Unlock()
			case <-stop:
				return
			}
		}
	})
	posters.Wait()
	close(stop)
	loop.Wait()
	left := len(m.mu.events)
	if left > 0 && len(m.wake) == 0 {
		t.Errorf("%d events are left and nobody was woken for them", left)
	}
	if taken+left != goroutines*each {
		t.Errorf("%d events of %d were taken, %d are left", taken, goroutines*each, left)
	}
}
