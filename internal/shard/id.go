package shard

import (
	"fmt"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
	"github.com/quorate/quorate/internal/store"
)

// ID names a shard within the cluster; its consensus group has the same number.
type ID = store.ShardID

// Group is the consensus group that replicates a shard.
func Group(id ID) consensus.GroupID { return consensus.GroupID(id) }

// NodeID names a node. Only the low 48 bits are used, so that a node and one of
// its incarnations fit a replica id.
type NodeID uint64

// String prints the id as etcd prints member ids.
func (n NodeID) String() string { return fmt.Sprintf("%x", uint64(n)) }

const (
	incarnationBits = 16
	// MaxNodeID is the largest node id.
	MaxNodeID = NodeID(1)<<(64-incarnationBits) - 1
)

// ReplicaOf is the identity of a node's replicas during one life of its disk.
// A node whose disk was lost comes back with the next incarnation and never
// votes under an earlier one. The first incarnation is 1.
func ReplicaOf(node NodeID, incarnation uint16) consensus.ReplicaID {
	if mutant.On(mutant.ShardReplicaReused) {
		incarnation = 1
	}
	return consensus.ReplicaID(uint64(node)<<incarnationBits | uint64(incarnation))
}

// IncarnationOf is the other half of a replica's id.
func IncarnationOf(replica consensus.ReplicaID) uint16 { return uint16(replica) }

// NodeOf is the node that hosts a replica.
func NodeOf(replica consensus.ReplicaID) NodeID { return NodeID(replica >> incarnationBits) }
