package placement

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/ring"
)

// Errors of the catalog. Each comes wrapped in a sentence that says what to do.
var (
	// ErrInvalid: a name, a count or a limit is out of range.
	ErrInvalid = errors.New("invalid keyspace")
	// ErrExists: there is a keyspace of that name, perhaps a deleted one.
	ErrExists = errors.New("keyspace exists")
	// ErrNotFound: there is none.
	ErrNotFound = errors.New("keyspace not found")
	// ErrDeleted: it was deleted, and its grace is not over.
	ErrDeleted = errors.New("keyspace is deleted")
	// ErrNoRoom: there are not enough nodes.
	ErrNoRoom = errors.New("not enough nodes")
	// ErrFormat: a record was written by a later version.
	ErrFormat = errors.New("record of a newer format")
	// ErrConflict: the catalog has changed meanwhile; reading it again and trying again helps.
	ErrConflict = errors.New("the catalog has changed")
)

// Limits of a keyspace.
const (
	// NameBytesMax is how long a name may be: it is a DNS label, so that it can be the
	// first one of an authority.
	NameBytesMax = 63
	// QuotaBytesDefault and QuotaBytesMin bound a keyspace's logical size.
	QuotaBytesDefault = 2 << 30
	QuotaBytesMin     = 1 << 20
	// ReplicasDefault is how many replicas a keyspace gets where there are as many nodes.
	ReplicasDefault = 3
	// Grace is how long a deleted keyspace can be brought back.
	Grace = 24 * time.Hour
)

// replicas are the counts that there may be: an even one costs a node and survives no more.
var replicas = []int{1, 3, 5, 7}

// The keyspaces that every cluster has. Clients do not manage them.
const (
	System  = "system"
	Default = "default"
)

// State is where a keyspace is in its life.
type State string

const (
	// Active keyspaces serve.
	Active State = "active"
	// Deleted ones wait for their grace to end (L4).
	Deleted State = "deleted"
)

// Spec is what somebody asks for who creates a keyspace. Zero fields take the default.
type Spec struct {
	Name     string
	Engine   string // a consensus engine's name; default: that of the default keyspace
	Replicas int    // 1, 3, 5 or 7; default 3, on fewer nodes 1
	// QuotaBytes limits the logical size: 2 GiB by default, -1 is no limit.
	QuotaBytes int64
	Limits     Limits
}

// Change is what somebody asks for who updates one. Nil fields stay as they are, and so do
// limits of zero.
type Change struct {
	QuotaBytes *int64
	Replicas   *int
	Limits     Limits
}

// Shard is what one consensus group of a keyspace replicates, and where its replicas are. They
// move in steps (L5): an arrival joins as a learner; once it has caught up it votes in place of
// whom it replaces; that one leaves when it has answered its clients.
type Shard struct {
	ID     uint64 `json:"id"`
	Engine string `json:"engine"`
	// WriteQuorum is how many of First decided when the shard was founded; zero: a majority.
	WriteQuorum int `json:"writeQuorum,omitempty"`
	// First are the replicas that the shard was founded with (L3).
	First []Node `json:"first"`
	// Nodes are the replicas that vote, or are about to; the first should lead.
	Nodes []Node `json:"nodes"`
	// Joining are learners that are to vote.
	Joining []Arrival `json:"joining,omitempty"`
	// Leaving are replicas that are to vote no more. They go as soon as nobody waits for them.
	Leaving []Node `json:"leaving,omitempty"`
	// Settling: Nodes have changed, and the leader has not said yet that these are the voters.
	Settling bool `json:"settling,omitempty"`
	// Learners never vote: the system keyspace has one on every node beside its voters.
	Learners []Node `json:"learners,omitempty"`
	// Last is the highest incarnation that a replica of the shard has had, if it is none of those above.
	Last uint16 `json:"last,omitempty"`
	// Balanced is when the shard, or the lead in it, was last moved for its load, in seconds since
	// 1970. It rests for a while then, whoever plans next.
	Balanced int64 `json:"balanced,omitempty"`
}

// Node is the place of a replica: a node during one life of its disk, and which of the shard's
// replicas it is (L6).
type Node struct {
	ID          uint64 `json:"id"`
	Incarnation uint16 `json:"incarnation"`
	// Life is the node's own incarnation; 0 is 1.
	Life uint16 `json:"life,omitempty"`
}

// Arrival is a replica on its way in.
type Arrival struct {
	Node
	// For is whom it replaces; nobody if zero.
	For Node `json:"for"`
}

// Keyspace is a keyspace's record.
type Keyspace struct {
	Format     int     `json:"format"`
	Name       string  `json:"name"`
	Epoch      uint64  `json:"epoch"` // L2
	State      State   `json:"state"`
	Replicas   int     `json:"replicas"` // wanted, of each shard; 0: as OwnReplicas says
	QuotaBytes int64   `json:"quotaBytes"`
	Limits     Limits  `json:"limits,omitzero"`
	Shards     []Shard `json:"shards"`            // one, so far
	Created    int64   `json:"created"`           // seconds since 1970
	DeletedAt  int64   `json:"deleted,omitempty"` // likewise, of a deleted one

	// Revision is the system keyspace's at which the record was written: who replaces it
	// compares that (L2). It is not in the record.
	Revision int64 `json:"-"`
}

// recordFormat is the newest that this package reads, and what it writes.
const recordFormat = 1

// Encode is the record's value.
func (k *Keyspace) Encode() []byte {
	value, err := json.Marshal(k)
	if err != nil {
		panic(fmt.Sprintf("placement: a keyspace's record cannot be encoded: %v", err))
	}
	return value
}

// DecodeKeyspace reads a record. It returns ErrFormat or ErrInvalid, wrapped.
func DecodeKeyspace(value []byte) (Keyspace, error) {
	var k Keyspace
	if err := json.Unmarshal(value, &k); err != nil {
		return k, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if k.Format > recordFormat {
		return k, fmt.Errorf("%w: keyspace %q has format %d, this program knows up to %d: start a newer version", ErrFormat, k.Name, k.Format, recordFormat)
	}
	if k.Format < 1 || len(k.Shards) == 0 || slices.ContainsFunc(k.Shards, func(s Shard) bool { return s.ID == 0 || s.Engine == "" || len(s.First) == 0 || len(s.Nodes) == 0 }) {
		return k, fmt.Errorf("%w: the record of keyspace %q is not whole", ErrInvalid, k.Name)
	}
	if k.Replicas < 0 || k.Replicas > ring.ReplicasMax || slices.ContainsFunc(k.Shards, func(s Shard) bool { return !s.sound() }) {
		return k, fmt.Errorf("%w: the record of keyspace %q has replicas where there can be none", ErrInvalid, shorten(k.Name))
	}
	return k, CheckName(k.Name)
}

// Expires is when a deleted keyspace's grace ends, in seconds since 1970; zero: it is not
// deleted.
func (k *Keyspace) Expires() int64 {
	if k.State != Deleted {
		return 0
	}
	return k.DeletedAt + int64(Grace/time.Second)
}

// CheckName refuses what is no name of a keyspace.
func CheckName(name string) error {
	bad := func(why string) error {
		return fmt.Errorf("%w: name %q %s: use 1 to %d of the letters a to z, digits and dashes, and no dash at the ends", ErrInvalid, shorten(name), why, NameBytesMax)
	}
	switch {
	case name == "":
		return bad("is empty")
	case len(name) > NameBytesMax:
		return bad("is too long")
	case name[0] == '-' || name[len(name)-1] == '-':
		return bad("begins or ends with a dash")
	case strings.ContainsFunc(name, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' }):
		return bad("has other characters")
	}
	return nil
}

// shorten keeps a name that somebody sent fit for a sentence.
func shorten(name string) string {
	if len(name) > 2*NameBytesMax {
		return name[:2*NameBytesMax] + "..."
	}
	return name
}

func checkQuota(bytes int64) error {
	if bytes != -1 && bytes < QuotaBytesMin {
		return fmt.Errorf("%w: a quota of %d bytes: use %d or more, or -1 for none", ErrInvalid, bytes, QuotaBytesMin)
	}
	return nil
}
