package consensus

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// Membership is a target set, as an operator or a planner states it.
type Membership struct {
	// Voters decide and elect; ascending, no duplicates, at least one.
	Voters []ReplicaID
	// Learners receive everything and decide nothing; disjoint from Voters.
	Learners []ReplicaID
	// WriteQuorum is the number of replicas that decide, for flexible Paxos;
	// zero means a majority.
	WriteQuorum int
}

// Configuration is a membership as it is in force, with what a change in
// progress adds to it. An engine that changes membership in another way than by
// joint consensus leaves Outgoing empty.
type Configuration struct {
	Membership
	// Outgoing are the voters of the previous membership while a change is under way. In
	// Raft decisions and elections then need a quorum of both (Raft §6); in Paxos they go
	// on to govern for a while.
	Outgoing []ReplicaID
	// OutgoingWrite is the write quorum of Outgoing; zero means a majority.
	OutgoingWrite int
	// Begun is the index of the entry that began the change, for engines in which the new
	// voters govern from a distance behind it on; else zero.
	Begun Index
}

// Joint reports whether a joint change is under way.
func (c *Configuration) Joint() bool { return len(c.Outgoing) > 0 }

// Validate returns ErrInvalid, wrapped with the reason, unless the membership is
// sorted, disjoint, without zero ids and has at least one voter.
func (m *Membership) Validate() error {
	if len(m.Voters) == 0 {
		return fmt.Errorf("%w: membership has no voters", ErrInvalid)
	}
	if err := validateSet("voters", m.Voters); err != nil {
		return err
	}
	if err := validateSet("learners", m.Learners); err != nil {
		return err
	}
	for _, id := range m.Learners {
		if slices.Contains(m.Voters, id) {
			return fmt.Errorf("%w: replica %v is both voter and learner", ErrInvalid, id)
		}
	}
	if m.WriteQuorum < 0 || m.WriteQuorum > len(m.Voters)/2+1 {
		return fmt.Errorf("%w: write quorum %d of %d voters", ErrInvalid, m.WriteQuorum, len(m.Voters))
	}
	return nil
}

func validateSet(what string, ids []ReplicaID) error {
	for i, id := range ids {
		if id == 0 {
			return fmt.Errorf("%w: %s contain replica 0", ErrInvalid, what)
		}
		if i > 0 && ids[i-1] >= id {
			return fmt.Errorf("%w: %s are not strictly ascending at %v", ErrInvalid, what, id)
		}
	}
	return nil
}

// Equal reports whether two memberships are the same.
func (m *Membership) Equal(o *Membership) bool {
	return m.WriteQuorum == o.WriteQuorum && slices.Equal(m.Voters, o.Voters) && slices.Equal(m.Learners, o.Learners)
}

// Contains reports whether a replica takes part in the configuration in any way.
func (c *Configuration) Contains(id ReplicaID) bool {
	return slices.Contains(c.Voters, id) || slices.Contains(c.Learners, id) || slices.Contains(c.Outgoing, id)
}

// Clone returns a copy that shares no memory.
func (c *Configuration) Clone() Configuration {
	d := *c
	d.Voters = slices.Clone(c.Voters)
	d.Learners = slices.Clone(c.Learners)
	d.Outgoing = slices.Clone(c.Outgoing)
	return d
}

// The first byte of an encoded configuration: whether OutgoingWrite and Begun are in it.
const (
	configurationPlain = 1
	configurationBegun = 2
)

// AppendConfiguration encodes c behind dst: version byte, write quorum, then
// voters, outgoing voters and learners, each a count and ids, all as uvarints. In version 2
// the write quorum of the outgoing voters and the index of the change follow.
func AppendConfiguration(dst []byte, c *Configuration) []byte {
	version := byte(configurationPlain)
	if c.OutgoingWrite != 0 || c.Begun != 0 {
		version = configurationBegun
	}
	dst = append(dst, version)
	dst = binary.AppendUvarint(dst, uint64(c.WriteQuorum))
	for _, ids := range [][]ReplicaID{c.Voters, c.Outgoing, c.Learners} {
		dst = binary.AppendUvarint(dst, uint64(len(ids)))
		for _, id := range ids {
			dst = binary.AppendUvarint(dst, uint64(id))
		}
	}
	if version == configurationBegun {
		dst = binary.AppendUvarint(dst, uint64(c.OutgoingWrite))
		dst = binary.AppendUvarint(dst, uint64(c.Begun))
	}
	return dst
}

// DecodeConfiguration reads what AppendConfiguration wrote. It returns
// ErrMalformed, wrapped with the reason, for anything else.
func DecodeConfiguration(src []byte) (Configuration, error) {
	var c Configuration
	if len(src) == 0 || src[0] != configurationPlain && src[0] != configurationBegun {
		return c, fmt.Errorf("%w: configuration of unknown version", ErrMalformed)
	}
	d := uvarints{rest: src[1:]}
	c.WriteQuorum = int(d.next())
	c.Voters, c.Outgoing, c.Learners = d.ids(), d.ids(), d.ids()
	if src[0] == configurationBegun {
		c.OutgoingWrite, c.Begun = int(d.next()), Index(d.next())
		d.bad = d.bad || c.OutgoingWrite == 0 && c.Begun == 0 // one configuration, one encoding
	}
	if d.bad || len(d.rest) != 0 {
		return Configuration{}, fmt.Errorf("%w: configuration of %d bytes", ErrMalformed, len(src))
	}
	if err := c.Validate(); err != nil {
		return Configuration{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := c.validateOutgoing(); err != nil {
		return Configuration{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return c, nil
}

// validateOutgoing checks what a change adds to the membership.
func (c *Configuration) validateOutgoing() error {
	if err := validateSet("outgoing voters", c.Outgoing); err != nil {
		return err
	}
	if n := len(c.Outgoing); c.OutgoingWrite < 0 || n == 0 && (c.OutgoingWrite != 0 || c.Begun != 0) || c.OutgoingWrite > n/2+1 {
		return fmt.Errorf("%w: write quorum %d of %d outgoing voters since %d", ErrInvalid, c.OutgoingWrite, n, c.Begun)
	}
	return nil
}

// uvarints reads a run of uvarints; bad latches the first failure.
type uvarints struct {
	rest []byte
	bad  bool
}

func (u *uvarints) next() uint64 {
	v, n := binary.Uvarint(u.rest)
	if n <= 0 {
		u.bad = true
		return 0
	}
	u.rest = u.rest[n:]
	return v
}

func (u *uvarints) ids() []ReplicaID {
	n := u.next()
	if u.bad || n > uint64(len(u.rest)) {
		u.bad = true
		return nil
	}
	if n == 0 {
		return nil
	}
	ids := make([]ReplicaID, n)
	for i := range ids {
		ids[i] = ReplicaID(u.next())
	}
	return ids
}
