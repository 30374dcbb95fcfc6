package router

import "errors"

var (
	// ErrTimeout answers a request whose deadline came. A command may still be
	// applied later.
	ErrTimeout = errors.New("request timed out")
	// ErrTimeoutLeaderFail is ErrTimeout when the leadership changed meanwhile.
	ErrTimeoutLeaderFail = errors.New("request timed out, possibly due to previous leader failure")
	// ErrNoLeader answers a request whose deadline came and no leader is known.
	ErrNoLeader = errors.New("no leader")
	// ErrUnknownOutcome answers a command that a received snapshot may contain.
	ErrUnknownOutcome = errors.New("outcome unknown: the state was replaced by a snapshot")
	// ErrTooManyRequests answers a request for which a queue has no room.
	ErrTooManyRequests = errors.New("too many requests")
	// ErrNoSpace answers a command that needs disk space which this node does not have.
	ErrNoSpace = errors.New("no space left on the node's disk")
	// ErrRequestTooLarge answers a command above the size limit.
	ErrRequestTooLarge = errors.New("request is too large")
	// ErrStopped answers everything that waits when the node stops.
	ErrStopped = errors.New("node is stopping")
	// ErrUnknownKeyspace is returned for a keyspace that this node does not carry.
	ErrUnknownKeyspace = errors.New("no such keyspace")
	// ErrMalformed is returned for a forwarded packet that cannot be decoded.
	ErrMalformed = errors.New("malformed forwarded packet")
)
