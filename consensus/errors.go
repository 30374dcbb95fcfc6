package consensus

import "errors"

var (
	// ErrNotLeader is returned by Propose when this replica does not lead its group.
	ErrNotLeader = errors.New("not the leader")
	// ErrBusy is returned by Propose when a window of Config is full.
	ErrBusy = errors.New("too many proposals in flight")
	// ErrTransferring is returned by Propose while leadership is being handed over.
	ErrTransferring = errors.New("leadership is being transferred")
	// ErrMembershipPending is returned by Propose when a membership change is under way.
	ErrMembershipPending = errors.New("a membership change is under way")
	// ErrInvalid is returned, wrapped with the reason, for a proposal or a
	// configuration that can never be accepted.
	ErrInvalid = errors.New("invalid")

	// ErrUnknownKind is returned by Step for a message kind the engine does not have.
	ErrUnknownKind = errors.New("unknown message kind")
	// ErrWrongGroup is returned by Step for another group's message.
	ErrWrongGroup = errors.New("message of another group")
	// ErrNotAddressed is returned by Step for a message to another replica.
	ErrNotAddressed = errors.New("message to another replica")
	// ErrNotMember is returned by Step for a sender outside the configuration,
	// where membership matters.
	ErrNotMember = errors.New("sender is not a member")
	// ErrMalformed is returned by Step for impossible fields.
	ErrMalformed = errors.New("malformed message")
)
