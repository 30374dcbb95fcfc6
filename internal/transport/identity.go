package transport

import (
	"fmt"
	"net"
)

// NodeID names a node for ever; its low 48 bits are used, so that a replica id is a
// node id and an incarnation. Zero means "none".
type NodeID uint64

// MaxNodeID is the largest node id.
const MaxNodeID NodeID = 1<<48 - 1

// String prints the id as etcd prints member ids.
func (id NodeID) String() string { return fmt.Sprintf("%x", uint64(id)) }

// Incarnation counts a node's lives on disk: the first is 1, and a node that lost its
// disk comes back with a higher one. Zero means "any" or "unknown".
type Incarnation uint16

// Identity is what a node says about itself when it connects.
type Identity struct {
	Cluster     uint64
	Node        NodeID
	Incarnation Incarnation
	// Disk is random and made with the node's data directory: two directories of one
	// node and incarnation differ in it. Zero means "unknown".
	Disk uint64
	Name string // for people; at most 255 bytes travel
	// MinLevel and MaxLevel are the feature levels that this build can run.
	MinLevel, MaxLevel uint32
	// Terms are what both ends must agree on before they exchange messages, in the words of
	// Config.Agree; at most 1 KiB. Empty: a build that does not know them.
	Terms string
}

// Purpose says what a connection is for. Zero is never valid.
type Purpose uint8

const (
	// PurposeMessages carries batches of packets from the dialler for its whole life.
	PurposeMessages Purpose = 1
	// PurposeSnapshot carries one snapshot stream.
	PurposeSnapshot Purpose = 2
	// PurposeProbe carries one answer and nothing else.
	PurposeProbe Purpose = 3
)

// String names the purpose for logs.
func (p Purpose) String() string {
	switch p {
	case PurposeMessages:
		return "messages"
	case PurposeSnapshot:
		return "snapshot"
	case PurposeProbe:
		return "probe"
	}
	return fmt.Sprintf("purpose-%d", uint8(p))
}

// Hello is what a dialler presents.
type Hello struct {
	Identity
	// Expected is the node the dialler believes it has reached; zero: it does not know.
	Expected NodeID
	// Boot differs between any two starts of a process.
	Boot    uint64
	Purpose Purpose
	// Conn is the connection, for what it proves about its other end (a TLS wrapper's
	// verified certificate, the remote address). It is not to be read, written or closed.
	Conn net.Conn
}

// Peer is a node that this transport keeps a connection to.
type Peer struct {
	ID   NodeID
	Addr string
	// Incarnation is the one the cluster knows; another one is refused in both
	// directions. Zero: any.
	Incarnation Incarnation
}

// ProbeReply answers "does your cluster's state include me?".
type ProbeReply struct {
	// Node is who answered; the transport fills it in.
	Node Identity
	// Bootstrapped: the answering node has cluster state on its disk.
	Bootstrapped bool
	// Member: that state includes the asking node, with Incarnation.
	Member      bool
	Incarnation Incarnation
	// Body is the asker's and the answerer's business (at most 64 KiB).
	Body []byte
}
