package env

import "time"

// Clock is the door to time.
type Clock interface {
	// Now is the wall clock. It may step in both directions (E2).
	Now() time.Time
	// Monotonic is the time since the clock was made. It never steps (E2).
	Monotonic() time.Duration
}

// SystemClock returns the operating system's clock.
func SystemClock() Clock { return systemClock{start: time.Now()} }

type systemClock struct{ start time.Time }

func (c systemClock) Now() time.Time { return time.Now() }

// Monotonic relies on time.Time carrying a monotonic reading beside the wall one.
func (c systemClock) Monotonic() time.Duration { return time.Since(c.start) }
