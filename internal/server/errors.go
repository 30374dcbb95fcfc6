package server

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/internal/mvcc"
	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/router"
	"github.com/quorate/quorate/internal/store"
)

// errorTable says what each error of the packages below looks like to a client: etcd's
// code and text, letter by letter, because clients compare both. It is the only place
// where that is decided (I3), beside catalogCodes for our own API and memberErrors for what
// both have, and TestErrorTableIsComplete
// compares it with the sources of those packages.
//
// One entry differs from etcd: its server answers "too many requests" with the code
// Unknown, having put the client's error into its table. Ours has the code that the
// table of its own client expects.
var errorTable = map[error]error{
	store.ErrCompacted:         rpctypes.ErrGRPCCompacted,
	store.ErrFutureRevision:    rpctypes.ErrGRPCFutureRev,
	store.ErrNoSpace:           rpctypes.ErrGRPCNoSpace,
	store.ErrKeyNotFound:       rpctypes.ErrGRPCKeyNotFound,
	store.ErrLeaseNotFound:     rpctypes.ErrGRPCLeaseNotFound,
	store.ErrLeaseExists:       rpctypes.ErrGRPCLeaseExist,
	store.ErrLeaseTTLTooLarge:  rpctypes.ErrGRPCLeaseTTLTooLarge,
	store.ErrTooManyLeases:     status.Error(codes.ResourceExhausted, store.ErrTooManyLeases.Error()),
	store.ErrEmptyKey:          rpctypes.ErrGRPCEmptyKey,
	store.ErrValueProvided:     rpctypes.ErrGRPCValueProvided,
	store.ErrLeaseProvided:     rpctypes.ErrGRPCLeaseProvided,
	store.ErrTooManyOps:        rpctypes.ErrGRPCTooManyOps,
	store.ErrDuplicateKey:      rpctypes.ErrGRPCDuplicateKey,
	store.ErrInvalidSortOption: rpctypes.ErrGRPCInvalidSortOption,

	router.ErrTimeout:           rpctypes.ErrGRPCTimeout,
	router.ErrTimeoutLeaderFail: rpctypes.ErrGRPCTimeoutDueToLeaderFail,
	router.ErrUnknownKeyspace:   status.Error(codes.Unavailable, "quorate: the keyspace has just moved to another member: try again"),
	router.ErrUnknownOutcome:    rpctypes.ErrGRPCTimeoutDueToLeaderFail,
	router.ErrNoLeader:          rpctypes.ErrGRPCNoLeader,
	router.ErrTooManyRequests:   rpctypes.ErrGRPCRequestTooManyRequests,
	router.ErrNoSpace:           rpctypes.ErrGRPCNoSpace,
	router.ErrRequestTooLarge:   rpctypes.ErrGRPCRequestTooLarge,
	router.ErrStopped:           rpctypes.ErrGRPCStopped,

	// A snapshot arrived in the middle of a read. The client may repeat it at once.
	mvcc.ErrReplaced: status.Error(codes.Unavailable, "etcdserver: state was replaced during the read"),
}

// toStatus translates an error for the client. Errors of contexts are left to gRPC,
// which knows their codes. What the table does not know becomes Unknown with its text,
// as in etcd.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if s, ok := errorTable[err]; ok {
		return s
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	for e := errors.Unwrap(err); e != nil; e = errors.Unwrap(e) {
		if s, ok := errorTable[e]; ok {
			return s
		}
	}
	return status.Error(codes.Unknown, err.Error())
}

// catalogCodes say what the catalog's errors are to a client of our own API. Their text goes
// as it is: each comes wrapped in a sentence for the user, and no client compares it.
var catalogCodes = []catalogCode{
	{placement.ErrInvalid, codes.InvalidArgument},
	{placement.ErrExists, codes.AlreadyExists},
	{placement.ErrNotFound, codes.NotFound},
	{placement.ErrDeleted, codes.FailedPrecondition},
	{placement.ErrFormat, codes.FailedPrecondition},
	{placement.ErrNoRoom, codes.ResourceExhausted},
	{placement.ErrConflict, codes.Aborted},
	{placement.ErrMember, codes.InvalidArgument},
	{placement.ErrMemberExists, codes.AlreadyExists},
	{placement.ErrMemberNotFound, codes.NotFound},
	{placement.ErrForeignCluster, codes.FailedPrecondition},
	{placement.ErrUnsafe, codes.FailedPrecondition},
}

type catalogCode struct {
	err  error
	code codes.Code
}

// catalogStatus is toStatus for what a Catalog or a Cluster answers.
func catalogStatus(err error) error {
	for _, c := range catalogCodes {
		if errors.Is(err, c.err) {
			return status.Error(c.code, err.Error())
		}
	}
	return toStatus(err)
}

// errorText is the text that a client would see, for the HTTP endpoints.
func errorText(err error) string { return status.Convert(toStatus(err)).Message() }
