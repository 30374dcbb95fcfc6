package transport

import (
	"errors"
	"fmt"
)

var (
	// ErrMalformed is returned, wrapped with the reason, for bytes that no peer of a
	// known version sends. The connection they came from is closed.
	ErrMalformed = errors.New("malformed peer data")
	// ErrTooLarge is returned for a frame above Limits.FrameBytes; nothing was
	// allocated for it.
	ErrTooLarge = errors.New("peer frame too large")
	// ErrNotPeer is returned when the other end does not speak the peer protocol.
	ErrNotPeer = errors.New("not a quorate peer")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("transport closed")
	// ErrUnknownPeer is returned by SendSnapshot for a node that SetPeers did not name.
	ErrUnknownPeer = errors.New("unknown peer")
	// ErrSnapshotAborted is returned to the reader of a snapshot whose sender gave up.
	ErrSnapshotAborted = errors.New("snapshot aborted by its sender")
	// ErrSnapshotFailed is returned by SendSnapshot, wrapped with the receiver's words,
	// when the receiver did not install the state.
	ErrSnapshotFailed = errors.New("snapshot not installed by its receiver")
	// ErrSnapshotUnread is the verdict on a handler that reported success without
	// having read a snapshot to its verified end (T7).
	ErrSnapshotUnread = errors.New("snapshot was not read to its end")
)

// Reason classifies a refusal. Zero means accepted.
type Reason uint8

const (
	// ReasonVersion: no protocol version is common to both ends.
	ReasonVersion Reason = 1
	// ReasonCluster: the ends belong to different clusters.
	ReasonCluster Reason = 2
	// ReasonNode: the node at the address is not the one the dialler meant.
	ReasonNode Reason = 3
	// ReasonIncarnation: a node presents another incarnation than the cluster knows.
	ReasonIncarnation Reason = 4
	// ReasonHandler: the accepting node's Handler.Accept said no.
	ReasonHandler Reason = 5
	// ReasonBusy: a limit is reached; trying again later may help.
	ReasonBusy Reason = 6
	// ReasonTerms: the ends do not agree on their terms (Config.Agree).
	ReasonTerms Reason = 7
)

// String names the reason for metrics.
func (r Reason) String() string {
	switch r {
	case 0:
		return "accepted"
	case ReasonVersion:
		return "version"
	case ReasonCluster:
		return "cluster"
	case ReasonNode:
		return "node"
	case ReasonIncarnation:
		return "incarnation"
	case ReasonHandler:
		return "handler"
	case ReasonBusy:
		return "busy"
	case ReasonTerms:
		return "terms"
	}
	return fmt.Sprintf("reason-%d", uint8(r))
}

// RefusedError is returned when one end of a connection does not want the other.
type RefusedError struct {
	Reason Reason
	// Text is one sentence for an operator.
	Text string
}

// Error returns the sentence.
func (e *RefusedError) Error() string { return e.Text }

func refuse(reason Reason, format string, args ...any) *RefusedError {
	return &RefusedError{Reason: reason, Text: fmt.Sprintf(format, args...)}
}
