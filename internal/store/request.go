package store

import "github.com/quorate/quorate/internal/mvcc"

// KeyValue is one version of a key.
type KeyValue = mvcc.KeyValue

// SortOrder and SortTarget have etcd's numbers; others are refused by Validate.
type SortOrder int32

const (
	SortNone    SortOrder = 0
	SortAscend  SortOrder = 1
	SortDescend SortOrder = 2
)

// SortTarget says by what a range is sorted.
type SortTarget int32

const (
	SortByKey     SortTarget = 0
	SortByVersion SortTarget = 1
	SortByCreate  SortTarget = 2
	SortByMod     SortTarget = 3
	SortByValue   SortTarget = 4
)

// RangeRequest reads keys. Key and RangeEnd are etcd's: an empty end means the key
// alone, "\x00" all keys from Key on.
type RangeRequest struct {
	Key, RangeEnd     []byte
	Limit             int64 // zero or less: none
	Revision          int64 // zero or less: the newest
	SortOrder         SortOrder
	SortTarget        SortTarget
	Serializable      bool // a local read will do; only the server looks at it
	KeysOnly          bool
	CountOnly         bool
	MinModRevision    int64 // the four bounds: zero means none
	MaxModRevision    int64
	MinCreateRevision int64
	MaxCreateRevision int64
}

// RangeResponse answers a RangeRequest.
type RangeResponse struct {
	Revision int64 // the newest revision, not the one read at
	KVs      []KeyValue
	More     bool  // Limit cut the result
	Count    int64 // keys in the range, whatever limit and revision bounds say
}

// PutRequest writes a key.
type PutRequest struct {
	Key, Value  []byte
	Lease       int64
	PrevKV      bool
	IgnoreValue bool // keep the value that the key has
	IgnoreLease bool // keep the lease that the key has
}

// PutResponse answers a PutRequest.
type PutResponse struct {
	Revision int64
	PrevKV   *KeyValue
}

// DeleteRangeRequest deletes keys.
type DeleteRangeRequest struct {
	Key, RangeEnd []byte
	PrevKV        bool
}

// DeleteRangeResponse answers a DeleteRangeRequest.
type DeleteRangeResponse struct {
	Revision int64
	Deleted  int64
	PrevKVs  []KeyValue
}

// CompareResult and CompareTarget have etcd's numbers. As in etcd an unknown result
// is always true, and an unknown target compares equal.
type CompareResult int32

const (
	CompareEqual    CompareResult = 0
	CompareGreater  CompareResult = 1
	CompareLess     CompareResult = 2
	CompareNotEqual CompareResult = 3
)

// CompareTarget says what a Compare looks at.
type CompareTarget int32

const (
	CompareVersion CompareTarget = 0
	CompareCreate  CompareTarget = 1
	CompareMod     CompareTarget = 2
	CompareValue   CompareTarget = 3
	CompareLease   CompareTarget = 4
)

// Compare is a condition on one key, or on every key of a range.
type Compare struct {
	Result        CompareResult
	Target        CompareTarget
	Key, RangeEnd []byte
	Value         []byte // CompareValue
	Number        int64  // the other targets
}

// RequestOp is an operation of a Txn: exactly one field is set.
type RequestOp struct {
	Range       *RangeRequest
	Put         *PutRequest
	DeleteRange *DeleteRangeRequest
	Txn         *TxnRequest
}

// ResponseOp answers the RequestOp at its place.
type ResponseOp struct {
	Range       *RangeResponse
	Put         *PutResponse
	DeleteRange *DeleteRangeResponse
	Txn         *TxnResponse
}

// TxnRequest runs Success when all of Compare hold, else Failure.
type TxnRequest struct {
	Compare          []Compare
	Success, Failure []RequestOp
}

// TxnResponse answers a TxnRequest. The Revision of a nested one is zero, as
// etcd's is.
type TxnResponse struct {
	Revision  int64
	Succeeded bool
	Responses []ResponseOp
}

// CompactRequest gives up the history below Revision. Physical asks the server to
// answer only when the space was given back here.
type CompactRequest struct {
	Revision int64
	Physical bool
}

// CompactResponse answers a CompactRequest.
type CompactResponse struct{ Revision int64 }

// LeaseTTLMaxSeconds is the longest TTL, as in etcd.
const LeaseTTLMaxSeconds = 9_000_000_000

// LeaseGrantRequest makes a lease. TTLMinSeconds is the proposing leader's floor; a
// flag of one node must not decide alone what all replicas store.
type LeaseGrantRequest struct {
	ID            int64 // the server chooses one before it proposes
	TTLSeconds    int64
	TTLMinSeconds int64
}

// LeaseGrantResponse answers a LeaseGrantRequest.
type LeaseGrantResponse struct {
	Revision   int64
	ID         int64
	TTLSeconds int64
}

// LeaseRevokeRequest deletes a lease and all its keys.
type LeaseRevokeRequest struct{ ID int64 }

// LeaseRevokeResponse answers LeaseRevokeRequest and LeaseExpireRequest.
type LeaseRevokeResponse struct{ Revision int64 }

// LeaseExpireRequest revokes a lease whose time is over, as seen by the leader of
// Epoch. It is void when the entry that carries it has another epoch (S5).
type LeaseExpireRequest struct {
	ID    int64
	Epoch uint64
}

// LeaseCheckpointRequest records what is left of a lease, so that a new leader does
// not start it afresh. An unknown lease is no error.
type LeaseCheckpointRequest struct {
	ID               int64
	RemainingSeconds int64 // zero: all of it
}

// LeaseCheckpointResponse answers a LeaseCheckpointRequest.
type LeaseCheckpointResponse struct{ Revision int64 }

// SetQuotaRequest sets the shard's quota, all of it: zero Bytes mean QuotaDefaultBytes. It is
// replicated because the verdict of a quota must be the same on every replica, whatever their
// flags say.
type SetQuotaRequest Quota

// SetQuotaResponse answers a SetQuotaRequest.
type SetQuotaResponse struct{ Revision int64 }
