package placement

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/quorate/quorate/ring"
)

// Errors of members. Each comes wrapped in a sentence that says what to do.
var (
	// ErrMember: a name, URL, weight or zone is out of range.
	ErrMember = errors.New("invalid node")
	// ErrMemberExists: another node has that address.
	ErrMemberExists = errors.New("node exists")
	// ErrMemberNotFound: there is none of that id.
	ErrMemberNotFound = errors.New("node not found")
	// ErrForeignCluster: who wants to join means another cluster.
	ErrForeignCluster = errors.New("another cluster")
	// ErrUnsafe: the cluster would lose a quorum.
	ErrUnsafe = errors.New("a quorum would be lost")
)

// Limits of a member.
const (
	WeightDefault = 1
	WeightMax     = 1024
	// ZoneBytesMax bounds a zone's name.
	ZoneBytesMax = 255
	// MembersMax bounds the nodes of a cluster: a node tells its requests from those of others
	// by a byte.
	MembersMax = 200
	// MemberNameBytesMax bounds a node's name.
	MemberNameBytesMax = 256
)

// MemberState is what is to become of a node. The empty one carries its share.
type MemberState string

const (
	// Draining nodes are emptied, and stay.
	Draining MemberState = "draining"
	// Removing nodes are emptied, and then go for good.
	Removing MemberState = "removing"
)

// Member is a node's record in the system keyspace. The node itself writes its names and
// addresses; who manages the cluster writes zone, weight and state.
type Member struct {
	ID         uint64   `json:"id"`
	Name       string   `json:"name"`
	PeerURLs   []string `json:"peerURLs"`
	ClientURLs []string `json:"clientURLs"`
	// KeyspaceURLs are ports that serve one keyspace, by keyspace.
	KeyspaceURLs map[string][]string `json:"keyspaceURLs,omitempty"`
	Incarnation  uint16              `json:"incarnation"` // of its disk, from 1
	Disk         uint64              `json:"disk"`        // random, one for each incarnation; zero: it never started
	MinLevel     uint32              `json:"minLevel"`
	MaxLevel     uint32              `json:"maxLevel"`

	// Zone is what fails together with the node; with slashes further domains in it.
	Zone string `json:"zone,omitempty"`
	// Weight is its share of the load beside others'; 0 is WeightDefault.
	Weight int         `json:"weight,omitempty"`
	State  MemberState `json:"state,omitempty"`
	// Learner: whoever added it wanted it to be one. It votes as soon as it has caught up all
	// the same.
	Learner bool `json:"learner,omitempty"`

	// Revision is the system keyspace's at which the record was written (L2). It is not in it.
	Revision int64 `json:"-"`
}

// diskUnknown is that of a founder which has not said anything of itself yet. It has run all the
// same: whoever comes to its address with another disk is not the same.
const diskUnknown = 1<<64 - 1

// MemberKey is where a node's record is.
func MemberKey(id uint64) string { return MembersPrefix + strconv.FormatUint(id, 16) }

// RemovedKey is where it says that a node is gone for good.
func RemovedKey(id uint64) string { return RemovedPrefix + strconv.FormatUint(id, 16) }

// OfMember reports whether a key is about a node.
func OfMember(key []byte) bool {
	prefix, _ := split(string(key))
	return prefix == MembersPrefix || prefix == RemovedPrefix
}

// Started reports whether the node has ever run.
func (m *Member) Started() bool { return m.Disk != 0 }

// Encode is the record's value.
func (m *Member) Encode() []byte {
	value, err := json.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("placement: a node's record cannot be encoded: %v", err))
	}
	return value
}

// DecodeMember reads a record. It returns ErrMember, wrapped.
func DecodeMember(value []byte) (Member, error) {
	var m Member
	if err := json.Unmarshal(value, &m); err != nil {
		return m, fmt.Errorf("%w: %w", ErrMember, err)
	}
	switch {
	case m.ID == 0 || m.ID >= 1<<nodeBits:
		return m, fmt.Errorf("%w: a record with the id %x", ErrMember, m.ID)
	case m.Weight < 0 || m.Weight > WeightMax: // one such node, and nobody could plan
		return m, fmt.Errorf("%w: the record of node %x has the weight %d", ErrMember, m.ID, m.Weight)
	}
	return m, CheckZone(m.Zone)
}

// Removed is what stays of a node that is gone for good: it never comes back under its id.
type Removed struct {
	ID   uint64 `json:"id"`
	Name string `json:"name"`
	At   int64  `json:"at"` // seconds since 1970
}

// weight is what the ring gets: nothing for a node that is to be emptied, or has yet to come.
func (m *Member) weight() int {
	switch {
	case m.State != "" || !m.Started():
		return 0
	case m.Weight == 0:
		return WeightDefault
	}
	return m.Weight
}

// domains are the zone and what is in it.
func (m *Member) domains() []string {
	if m.Zone == "" {
		return nil
	}
	return strings.Split(m.Zone, "/")
}

// place is the member during this life of its disk.
func (m *Member) place() ring.NodeID { return ringID(m.ID, m.Incarnation) }

// ringID gives each life of a node's disk a place of its own on the ring.
func ringID(node uint64, life uint16) ring.NodeID {
	return ring.NodeID(uint64(max(1, life)-1)<<nodeBits | node)
}

// nodeBits is how many bits a node's id has.
const nodeBits = 48

func (n Node) place() ring.NodeID { return ringID(n.ID, n.Life) }

// Same reports whether two places are those of one replica.
func (n Node) Same(o Node) bool { return n.ID == o.ID && n.Incarnation == o.Incarnation }

// On reports whether a replica is on a node during a life of its disk.
func (n Node) On(node uint64, life uint16) bool {
	return n.ID == node && max(1, n.Life) == max(1, life)
}

// CheckWeight refuses what is no weight.
func CheckWeight(weight int) error {
	if weight < 1 || weight > WeightMax {
		return fmt.Errorf("%w: weight %d: use 1 to %d, or drain the node to empty it", ErrMember, weight, WeightMax)
	}
	return nil
}

// CheckZone refuses what is no zone. None is one.
func CheckZone(zone string) error {
	parts := strings.Split(zone, "/")
	bad := strings.ContainsFunc(zone, func(r rune) bool { return r <= ' ' || r > '~' })
	switch {
	case zone == "":
		return nil
	case len(zone) > ZoneBytesMax || bad || len(parts) > ring.DomainsMax || slices.Contains(parts, ""):
		return fmt.Errorf("%w: zone %q: use up to %d printable characters without spaces, as in eu-1 or eu-1/rack-7", ErrMember, shorten(zone), ZoneBytesMax)
	}
	return nil
}

// JoinRequest is what a machine says that wants to become a node.
type JoinRequest struct {
	Name         string   `json:"name"`
	PeerURLs     []string `json:"peerURLs"`
	Zone         string   `json:"zone,omitempty"`
	Weight       int      `json:"weight,omitempty"` // 0: the default
	ClusterToken string   `json:"token"`
	// Disk is a random number that its disk has; zero: the machine has not started.
	Disk uint64 `json:"disk,omitempty"`
	// Learner as in Member.
	Learner bool `json:"learner,omitempty"`
}

func (r *JoinRequest) check() error {
	if len(r.PeerURLs) == 0 {
		return fmt.Errorf("%w: it has no peer URL", ErrMember)
	}
	if r.Weight != 0 {
		if err := CheckWeight(r.Weight); err != nil {
			return err
		}
	}
	if len(r.Name) > MemberNameBytesMax {
		return fmt.Errorf("%w: a name of %d bytes: use up to %d", ErrMember, len(r.Name), MemberNameBytesMax)
	}
	return CheckZone(r.Zone)
}

// Ticket is what a machine gets to know that joins: who it is, and whom to speak to.
type Ticket struct {
	Cluster     uint64 `json:"cluster"`
	Token       string `json:"token"`
	Node        uint64 `json:"node"`
	Incarnation uint16 `json:"incarnation"`
	// System is the incarnation of its replica of the system keyspace.
	System uint16 `json:"system"`
	// Founders are the first nodes, and Shards how theirs were founded.
	Founders []uint64 `json:"founders"`
	Shards   []Shard  `json:"shards"`
	Members  []Member `json:"members"` // all others
}
