package consensustest

import (
	"math/rand/v2"

	"github.com/quorate/quorate/consensus"
)

// Pace says how long things take in a Timed world. Everything is in ticks.
type Pace struct {
	// HopMin and HopMax bound the time that a message is under way; it is drawn evenly.
	HopMin, HopMax int
	// Loss is the share of messages that never arrive, from 0 to 1.
	Loss float64
	// Fsync is how long a disk takes to make durable what it is given at once.
	Fsync int
}

// Timed is a World with a clock: messages and disks take their time, so a test can say how
// long something took and how much was done meanwhile. A tick is the unit of everything.
//
// The network keeps the order between two replicas, as a connection does, and loses single
// messages. A disk does one sync at a time; what is handed to it meanwhile goes into the
// next one together. A Stuck disk answers nothing, and goes on when it no longer is. Applying
// takes no time.
//
// A run is a function of engine, options, pace and seed (T1). The network has a chance of its
// own, so that how an engine draws its timeouts does not change which messages are lost.
//
// Step and what is built on it are the only ways for time to pass: Settle, Stabilize, Sync
// and Deliver know no clock.
type Timed struct {
	*World
	Pace
	// Now is the number of steps so far.
	Now int
	// Clients, when set, is called in each step before anything else is done: what it
	// proposes is handed in at Now, and what has ended by then did so in the step before.
	Clients func()
	// Messages is how many have left for another replica, lost ones included.
	Messages int

	chance *rand.Rand
	due    []arrival    // of the messages under way, in the order of World.net
	last   map[link]int // when the latest message of a connection arrives
	disks  map[consensus.ReplicaID]*timedDisk
}

// arrival is what becomes of a message under way.
type arrival struct {
	at   int
	lost bool
}

// timedDisk is one host's disk.
type timedDisk struct {
	sync  int // ticks that a sync takes
	life  int // incarnation of the host that the sync is for
	batch int // writes that are being made durable; zero: none
	until int // when they are, unless it is stuck then
}

// NewTimed makes an empty world with a clock.
func NewTimed(engine consensus.Engine, opts Options, pace Pace, seed uint64) *Timed {
	return &Timed{
		World: NewWorld(engine, opts, seed), Pace: pace,
		chance: rand.New(rand.NewPCG(seed, 1)),
		last:   map[link]int{},
		disks:  map[consensus.ReplicaID]*timedDisk{},
	}
}

// SlowDisk gives a host's disk a pace of its own.
func (w *Timed) SlowDisk(id consensus.ReplicaID, sync int) { w.disk(id).sync = sync }

func (w *Timed) disk(id consensus.ReplicaID) *timedDisk {
	if w.disks[id] == nil {
		w.disks[id] = &timedDisk{sync: w.Fsync}
	}
	return w.disks[id]
}

// Step lets one tick pass, and does all that is due.
func (w *Timed) Step() {
	w.Now++
	if w.Clients != nil {
		w.Clients()
	}
	for _, h := range w.hosts {
		w.Tick(h)
	}
	for busy := true; busy; {
		busy = w.arrivals()
		for _, h := range w.hosts {
			if h.m != nil {
				busy = w.write(h) || busy
				w.Apply(h, int(h.learned-h.applied))
			}
		}
	}
}

// Run lets so many ticks pass.
func (w *Timed) Run(ticks int) {
	for range ticks {
		w.Step()
	}
}

// RunUntil steps until a condition holds, at most so many ticks, and reports whether it does.
func (w *Timed) RunUntil(ticks int, holds func() bool) bool {
	for range ticks {
		if holds() {
			return true
		}
		w.Step()
	}
	return holds()
}

// Elect makes a certain host the leader, by transfer from whoever leads. It takes at most
// patience ticks each time.
func (w *Timed) Elect(id consensus.ReplicaID, patience int) *Host {
	for range 20 {
		if !w.RunUntil(patience, func() bool { return w.Leader() != nil }) {
			break
		}
		l := w.Leader()
		if l.ID == id {
			return l
		}
		if err := w.Transfer(l, id); err != nil {
			w.tracef("%v does not hand over to %v: %v", l.ID, id, err)
		}
		w.RunUntil(patience/10, func() bool { return w.Leader() != nil && w.Leader().ID == id })
	}
	w.fault("leadership cannot be handed to %v%s", id, w.describe())
	return nil
}

// arrivals delivers what is due, and reports whether that was anything.
func (w *Timed) arrivals() bool {
	did := false
	w.dispatch()
	for k := 0; k < len(w.due); {
		d := w.due[k]
		if d.at > w.Now {
			k++
			continue
		}
		did = true
		w.due = append(w.due[:k], w.due[k+1:]...)
		if d.lost {
			w.Drop(k)
		} else {
			w.deliverInOrder(k)
		}
		w.dispatch()
	}
	return did
}

// dispatch decides when the messages arrive that have left since it was called last. They
// stand at the end of World.net.
func (w *Timed) dispatch() {
	if len(w.due) > len(w.net) {
		w.fault("messages have arrived without the clock")
	}
	for k := len(w.due); k < len(w.net); k++ {
		p := &w.net[k]
		if p.From == p.To {
			w.due = append(w.due, arrival{at: w.Now})
			continue
		}
		w.Messages++
		hop := w.HopMin + w.chance.IntN(w.HopMax-w.HopMin+1)
		lost := w.chance.Float64() < w.Loss
		l := link{p.From, p.To}
		w.last[l] = max(w.last[l], w.Now+hop)
		w.due = append(w.due, arrival{w.last[l], lost})
	}
}

// write lets a host's disk work, and reports whether something became durable.
func (w *Timed) write(h *Host) bool {
	d := w.disk(h.ID)
	if d.life != h.life {
		d.life, d.batch = h.life, 0
	}
	did := false
	if d.batch > 0 && w.Now >= d.until && !h.Stuck {
		w.Sync(h, d.batch)
		d.batch, did = 0, true
	}
	if d.batch > 0 {
		return did
	}
	// What waits for writes that are durable already costs no sync of its own.
	for len(h.writes) > 0 && h.writes[0].empty() {
		w.Sync(h, 1)
		did = true
	}
	if len(h.writes) > 0 && !h.Stuck {
		d.batch, d.until = len(h.writes), w.Now+d.sync
	}
	return did
}
