package consensus

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func sampleConfigurations() []Configuration {
	return []Configuration{
		{Membership: Membership{Voters: []ReplicaID{1}}},
		{Membership: Membership{Voters: []ReplicaID{1, 2, 1 << 63}, Learners: []ReplicaID{9}, WriteQuorum: 2}},
		{Membership: Membership{Voters: []ReplicaID{4, 5}}, Outgoing: []ReplicaID{1, 2, 3}},
		{Membership: Membership{Voters: []ReplicaID{4, 5}}, Outgoing: []ReplicaID{1, 2, 3}, OutgoingWrite: 2, Begun: 77},
	}
}

// Goal: what is encoded is read back.
func TestConfigurationRoundTrip(t *testing.T) {
	for _, c := range sampleConfigurations() {
		got, err := DecodeConfiguration(AppendConfiguration(nil, &c))
		if err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		if diff := cmp.Diff(c, got); diff != "" {
			t.Errorf("(-encoded +decoded)\n%s", diff)
		}
	}
}

// The bytes of both versions: they stand in logs.
func TestConfigurationGolden(t *testing.T) {
	c := Configuration{Membership: Membership{Voters: []ReplicaID{1, 300}, Learners: []ReplicaID{7}}, Outgoing: []ReplicaID{2}}
	want := []byte{1, 0, 2, 1, 0xac, 2, 1, 2, 1, 7}
	if diff := cmp.Diff(want, AppendConfiguration(nil, &c)); diff != "" {
		t.Error(diff)
	}
	c.Begun = 300
	want = append([]byte{2}, append(want[1:], 0, 0xac, 2)...)
	if diff := cmp.Diff(want, AppendConfiguration(nil, &c)); diff != "" {
		t.Error(diff)
	}
	if c, err := DecodeConfiguration([]byte{2, 0, 1, 1, 1, 2, 0, 0, 0}); err == nil {
		t.Errorf("version 2 without a beginning is %+v", c)
	}
}

// Goal: memberships that can never work are refused, with ErrInvalid.
func TestMembershipValidate(t *testing.T) {
	for _, c := range []struct {
		name string
		m    Membership
	}{
		{"no voters", Membership{}},
		{"replica zero", Membership{Voters: []ReplicaID{0, 1}}},
		{"twice", Membership{Voters: []ReplicaID{1, 1}}},
		{"descending", Membership{Voters: []ReplicaID{2, 1}}},
		{"voter and learner", Membership{Voters: []ReplicaID{1, 2}, Learners: []ReplicaID{2}}},
		{"write quorum above a majority", Membership{Voters: []ReplicaID{1, 2, 3}, WriteQuorum: 3}},
		{"negative write quorum", Membership{Voters: []ReplicaID{1}, WriteQuorum: -1}},
	} {
		if err := c.m.Validate(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for _, c := range sampleConfigurations() {
		if err := c.Validate(); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// Goal: a clone shares nothing.
func TestConfigurationClone(t *testing.T) {
	for _, c := range sampleConfigurations() {
		d := c.Clone()
		d.Voters[0]++
		if cmp.Equal(c, d) {
			t.Errorf("%+v changed with its clone", c)
		}
	}
}

func FuzzDecodeConfiguration(f *testing.F) {
	for _, c := range sampleConfigurations() {
		f.Add(AppendConfiguration(nil, &c))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := DecodeConfiguration(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("unexpected error %v", err)
			}
			return
		}
		again, err := DecodeConfiguration(AppendConfiguration(nil, &c))
		if err != nil || !cmp.Equal(c, again) {
			t.Fatalf("%+v became %+v: %v", c, again, err)
		}
	})
}
