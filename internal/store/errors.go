package store

import (
	"errors"

	"github.com/quorate/quorate/internal/mvcc"
)

// Rejections: deterministic answers, the same on every replica, that are part of a
// Result. The texts are etcd's where etcd has one, so that the server can map them
// to rpctypes by identity.
var (
	// ErrCompacted is returned for a revision that has been compacted.
	ErrCompacted = mvcc.ErrCompacted
	// ErrFutureRevision is returned for a revision that does not exist yet.
	ErrFutureRevision = mvcc.ErrFutureRevision
	// ErrNoSpace is returned by Put, by a Txn that may put and by LeaseGrant when
	// the quota of bytes is reached, and by Put and Txn for a new key above that of keys.
	ErrNoSpace = errors.New("etcdserver: mvcc: database space exceeded")
	// ErrKeyNotFound is returned by a Put that ignores value or lease of a key that
	// does not exist, and by Validate for an empty operation of a Txn.
	ErrKeyNotFound = errors.New("etcdserver: key not found")
	// ErrLeaseNotFound is returned for an unknown lease.
	ErrLeaseNotFound = errors.New("etcdserver: requested lease not found")
	// ErrLeaseExists is returned by LeaseGrant for an id in use.
	ErrLeaseExists = errors.New("etcdserver: lease already exists")
	// ErrLeaseTTLTooLarge is returned by LeaseGrant above LeaseTTLMaxSeconds.
	ErrLeaseTTLTooLarge = errors.New("etcdserver: too large lease TTL")
	// ErrTooManyLeases is returned by LeaseGrant when the quota of leases is reached.
	ErrTooManyLeases = errors.New("etcdserver: the keyspace has as many leases as it may have: revoke some, or raise its limit")
	// ErrLeaseExpireVoid is the result of a LeaseExpire that was proposed in
	// another epoch than the one that decided it: the proposer had been deposed and
	// may not have known of a renewal. Nothing happened.
	ErrLeaseExpireVoid = errors.New("store: lease expiry of another epoch has no effect")
)

// Refusals of Validate: the request is never proposed.
var (
	// ErrEmptyKey is returned for a request without a key.
	ErrEmptyKey = errors.New("etcdserver: key is not provided")
	// ErrValueProvided is returned for a Put with a value that it ignores.
	ErrValueProvided = errors.New("etcdserver: value is provided")
	// ErrLeaseProvided is returned for a Put with a lease that it ignores.
	ErrLeaseProvided = errors.New("etcdserver: lease is provided")
	// ErrTooManyOps is returned for a Txn with more operations than allowed.
	ErrTooManyOps = errors.New("etcdserver: too many operations in txn request")
	// ErrDuplicateKey is returned for a Txn that may put a key twice, or put and
	// delete it.
	ErrDuplicateKey = errors.New("etcdserver: duplicate key given in txn request")
	// ErrInvalidSortOption is returned for an unknown sort order or target.
	ErrInvalidSortOption = errors.New("etcdserver: invalid sort option")
)

// Failures: this replica cannot go on. They are not part of the history.
var (
	// ErrUnknownKind is returned by DecodeEnvelope and Apply for an envelope
	// version or command kind that this build does not know. The replica stops; it
	// never skips (S6).
	ErrUnknownKind = errors.New("store: unknown command version or kind")
	// ErrMalformed is returned for bytes that do not decode.
	ErrMalformed = errors.New("store: malformed command")
	// ErrGap is returned by Apply when entries do not follow the applied index.
	ErrGap = errors.New("store: entries do not follow the applied index")
	// ErrCorrupt is returned when stored bytes do not decode.
	ErrCorrupt = errors.New("store: corrupt record")
	// ErrVersion is returned for records or snapshots of an unknown format.
	ErrVersion = errors.New("store: unknown format version")
)

// rejections gives each rejection a number for result hashes. It only grows.
var rejections = []error{
	nil, ErrCompacted, ErrFutureRevision, ErrNoSpace, ErrKeyNotFound, ErrLeaseNotFound,
	ErrLeaseExists, ErrLeaseTTLTooLarge, ErrLeaseExpireVoid, ErrTooManyLeases,
}

// rejectionCode returns the number of a rejection, and false for a failure.
func rejectionCode(err error) (code byte, ok bool) {
	for i, r := range rejections {
		if err == r { //nolint:errorlint // rejections are returned unwrapped
			return byte(i), true
		}
	}
	return 0, false
}
