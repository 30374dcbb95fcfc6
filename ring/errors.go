package ring

import "errors"

var (
	// ErrNode is returned by New when a node cannot be on a ring.
	ErrNode = errors.New("node cannot be on the ring")
	// ErrTooLarge is returned by New when the nodes have more than TokensMax tokens.
	ErrTooLarge = errors.New("too many tokens")
	// ErrPlacement is returned by Plan, Loads and Explain when a placement is none, and by
	// Apply when a move does not fit it.
	ErrPlacement = errors.New("not a placement")
	// ErrPolicy is returned by Plan, Loads and Explain when a policy cannot be kept.
	ErrPolicy = errors.New("policy cannot be kept")
	// ErrUnknown is returned by Explain for a shard that is not placed.
	ErrUnknown = errors.New("shard is not in the placement")
)
