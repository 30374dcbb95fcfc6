package node

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/env"
	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/router"
	"github.com/quorate/quorate/internal/shard"
)

// Config describes one node. Fields without a default must be set.
type Config struct {
	Name    string
	DataDir string
	WALDir  string // default DataDir/wal

	// InitialCluster lists the first members, this one included; its order does
	// not matter. It is used when the data directory is empty, and else compared.
	InitialCluster []Member
	Token          string
	// JoinExisting is etcd's --initial-cluster-state existing: somebody has added this member,
	// and the others of InitialCluster know its place.
	JoinExisting bool
	// Ticket is what a running cluster has answered to this machine, which wants to join it;
	// Seed is then the Disk that it has told the cluster. It is used when the data directory is empty.
	Ticket *placement.Ticket
	// Zone and Weight are what the node says of itself until somebody decides otherwise.
	Zone   string
	Weight int
	// ReplaceAfter is how long a node must be silent before its replicas are placed anew.
	ReplaceAfter time.Duration

	ListenPeer          []string // host:port, each is opened
	AdvertiseClientURLs []string
	// AdvertiseKeyspaceURLs are where clients find ports that serve one keyspace, by keyspace.
	AdvertiseKeyspaceURLs map[string][]string

	// Engine is the consensus engine of shards founded from now on; empty takes what
	// the data directory has recorded, or the first of Engines, which this program has.
	Engine  string
	Engines []consensus.Engine
	// WriteQuorum is how many members decide in the default keyspace when it is founded,
	// on an engine that is Flexible; zero takes what is recorded, or a majority.
	WriteQuorum int

	QuotaBytes int64 // logical bytes of the default keyspace; zero: 2 GiB, less: none
	Compaction Compaction
	Heartbeat  time.Duration // default 100 ms
	Election   time.Duration // default 1 s
	// LagEntries is how many log entries are kept for slow followers (etcd's
	// --snapshot-catchup-entries); default 10000.
	LagEntries   int
	CommandBytes int // largest command; default 2 MiB

	// MinLevel and MaxLevel are the feature levels this program can run.
	MinLevel, MaxLevel uint32

	FS      env.FS
	Network env.Network
	Clock   env.Clock
	Logger  *slog.Logger
	Seed    uint64
	// CPU is what this node takes of the processors; nil: that is estimated by what it does.
	CPU env.CPU
	// Exit ends the process; default os.Exit.
	Exit func(code int)

	// What tests shorten: loadPeriodDefault and preferAfterDefault.
	loadPeriod, preferAfter time.Duration
}

// Compaction says how much history the default keyspace keeps by itself. The
// zero value keeps all of it.
type Compaction struct {
	Period    time.Duration // history younger than this is kept
	Revisions int64         // or: so many revisions are kept
}

// Member is one member as the command line states it, or as the cluster does to one that joins.
type Member struct {
	Name     string   `json:"name"`
	PeerURLs []string `json:"peerURLs"`

	// ID and Incarnation are the cluster's word; zero: they follow from the URLs.
	ID          shard.NodeID `json:"id,omitempty"`
	Incarnation uint16       `json:"incarnation,omitempty"`
}

// Levels of this program. Level 1 is everything in the first release.
const (
	MinLevel = 1
	MaxLevel = 1
)

// ticksPerHeartbeat makes logical time finer than the heartbeat, so that random
// election timeouts of two followers rarely coincide.
const ticksPerHeartbeat = 10

func (c *Config) tick() time.Duration { return c.Heartbeat / ticksPerHeartbeat }

func (c *Config) setDefaults() {
	if c.QuotaBytes == 0 {
		c.QuotaBytes = 2 << 30
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = 100 * time.Millisecond
	}
	if c.Election == 0 {
		c.Election = time.Second
	}
	if c.MinLevel == 0 {
		c.MinLevel, c.MaxLevel = MinLevel, MaxLevel
	}
	if c.Exit == nil {
		c.Exit = os.Exit
	}
	c.loadPeriod = cmp.Or(c.loadPeriod, loadPeriodDefault)
	c.preferAfter = cmp.Or(c.preferAfter, preferAfterDefault)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

// ErrConfig is returned, wrapped with one sentence, for a configuration that
// cannot work.
var ErrConfig = errors.New("invalid configuration")

func (c *Config) validate() error {
	seen := make(map[string]string)
	names := make(map[string]bool)
	found := false
	for _, m := range c.InitialCluster {
		if names[m.Name] {
			return fmt.Errorf("%w: two members are named %q in --initial-cluster: give each its own --name", ErrConfig, m.Name)
		}
		names[m.Name] = true
		found = found || m.Name == c.Name
		if len(m.PeerURLs) == 0 {
			return fmt.Errorf("%w: member %q has no peer URL", ErrConfig, m.Name)
		}
		for _, u := range m.PeerURLs {
			if other, ok := seen[u]; ok && other != m.Name {
				return fmt.Errorf("%w: members %q and %q have the same peer URL %s", ErrConfig, other, m.Name, u)
			}
			seen[u] = m.Name
		}
	}
	if !found {
		return fmt.Errorf("%w: this member, %q, is not in --initial-cluster", ErrConfig, c.Name)
	}
	if c.Heartbeat < 10*time.Millisecond || c.Election < 5*c.Heartbeat || c.Election > 50*time.Second {
		return fmt.Errorf("%w: election timeout %v must be at least 5 heartbeat intervals of %v, and at most 50 s", ErrConfig, c.Election, c.Heartbeat)
	}
	if len(c.Engines) == 0 {
		return fmt.Errorf("%w: no consensus engine to choose from", ErrConfig)
	}
	if c.Engine != "" && !c.has(c.Engine) {
		return fmt.Errorf("%w: unknown consensus engine %q", ErrConfig, c.Engine)
	}
	return nil
}

// nodes are the ids of the initial cluster's members, in its order.
func (c *Config) nodes() []shard.NodeID {
	ids := make([]shard.NodeID, len(c.InitialCluster))
	for i, m := range c.InitialCluster {
		if ids[i] = m.ID; m.ID == 0 {
			ids[i] = nodeIDOf(m.PeerURLs, c.Token)
		}
	}
	return ids
}

func (c *Config) self() Member {
	i := slices.IndexFunc(c.InitialCluster, func(m Member) bool { return m.Name == c.Name })
	return c.InitialCluster[i]
}

func (c *Config) timing() shard.Timing {
	return shard.Timing{
		Tick: c.tick(), HeartbeatTicks: ticksPerHeartbeat,
		ElectionTicks: int(c.Election / c.tick()),
	}
}

func (c *Config) routerLimits() router.Limits {
	return router.Limits{Timeout: 5*time.Second + 2*c.Election, CommandBytes: c.CommandBytes}
}

// peerAddress is the address to dial for a peer URL.
func peerAddress(peerURL string) (string, error) {
	u, err := url.Parse(peerURL)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("%w: peer URL %q has no host and port", ErrConfig, peerURL)
	}
	return u.Host, nil
}
