package lease

import "testing"

// Goal: a lease ends LeaseNanos after its round began, whenever it was confirmed, and is due
// for renewal half-way.
func TestHolder(t *testing.T) {
	h := NewHolder(100)
	if h.Open(1, 1000); h.Holds(1000) {
		t.Error("holds before anybody has confirmed it")
	}
	h.Open(2, 1040)
	h.Confirm(1)
	if !h.Holds(1099) || h.Holds(1100) || h.Holds(0) {
		t.Error("the first round's lease is not [1000, 1100)")
	}
	if h.Due(1090) || !h.Due(1091) {
		t.Error("renewed before half of it is over since the last round, or not then")
	}
	h.Confirm(2)
	if !h.Holds(1139) || h.Holds(1140) {
		t.Error("the second round's lease does not end at 1140")
	}
	h.Open(3, 1050)
	h.Suspend()
	if h.Confirm(3); h.Holds(1050) {
		t.Error("a round from before a change gives a lease")
	}
	h.Open(4, 1060)
	h.Forfeit()
	h.Open(5, 1060)
	if h.Confirm(5); h.Holds(1060) {
		t.Error("a lease after a transfer")
	}
	h.Begin()
	h.Open(1, 2000)
	if h.Confirm(1); !h.Holds(2000) {
		t.Error("no lease in a new leadership")
	}
	none := NewHolder(0)
	none.Open(1, 1000)
	if none.Confirm(1); none.Holds(1000) {
		t.Error("a lease of no length holds")
	}
}

// Goal: a voter is bound to the leader it heard last and to those before, each for its
// time, and a transfer frees it from earlier leaders only.
func TestVoter(t *testing.T) {
	v := NewVoter(3, 4)
	ticks := func(n int) {
		for range n {
			v.Tick()
		}
	}
	if v.Free() || v.FreeFor(1, 5) {
		t.Error("free right after a start")
	}
	if v.Release(4); v.Free() {
		t.Error("a candidate of the epoch that it was started in frees it")
	}
	ticks(3)
	if !v.Free() {
		t.Error("not free after its time")
	}
	v.Heard(1, 5)
	ticks(1)
	v.Heard(2, 6)
	if v.FreeFor(2, 6) {
		t.Error("the word of a later leader ends its duty to the one before")
	}
	ticks(2)
	if v.Free() || !v.FreeFor(2, 6) || v.FreeFor(2, 7) || v.FreeFor(3, 6) {
		t.Error("is not bound to leader 2 of epoch 6 alone")
	}
	if v.Release(6); v.Free() {
		t.Error("a late request of epoch 6 frees it from that epoch's leader")
	}
	if v.Release(7); !v.Free() {
		t.Error("its leader's transfer does not free it")
	}
	var off Voter
	if off.Heard(1, 1); !off.Free() || off.On() {
		t.Error("bound without leases")
	}
}
