// Package env holds the only doors to the outside world: clock, chance, disk,
// network and processors. Every other package receives them as values, so that the simulator
// can hand in its own and a wrapper can add encryption at rest or TLS in one place.
//
//	E1  No other package reads the clock, draws from the operating system's random
//	    source, opens a file or opens a socket.
//	E2  Monotonic time never steps and never goes back within one process. Wall time
//	    may do both: it is data for users, and no safety argument rests on it.
//	E3  A file that was created, renamed or removed is durable only once its
//	    directory was synced (FS.OpenDir, File.Sync).
//
// Deliberately absent: timers and sleeping. A loop that waits owns its timer, and
// what it drives counts ticks.
package env
