package differential

import (
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// required lists everything a run must have done (keeps I3).
var required = slices.Concat(
	prefixed("range/", rangeMarks, sortMarks()),
	prefixed("stream/", streamMarks),
	prefixed("put/", putMarks),
	prefixed("delete/", deleteMarks),
	prefixed("txn/", txnMarks, compareMarks()),
	prefixed("compact/", []string{"physical", "logical", "revision 0 or less"}),
	prefixed("lease/", leaseMarks),
	prefixed("watch/", watchMarks),
	prefixed("event/", []string{"put", "delete", "with prev_kv", "with lease", "message in fragments"}),
	prefixed("cluster/", []string{"member list", "member list linearizable", "status", "hash", "hashkv current", "hashkv at revision"}),
	prefixed("restart/", []string{"SIGTERM", "SIGKILL"}),
	prefixed("error/", errorTexts),
)

// rare marks and their floors in a full run: each of these costs seconds
// (a restart, a lease that runs out) or megabytes.
var rare = map[string]int{
	"restart/SIGTERM":            10,
	"restart/SIGKILL":            10,
	"lease/expired":              10,
	"event/message in fragments": 10,
	"watch/far future":           20,
}

var rangeMarks = []string{
	"single key", "range end", "prefix", "from key", "everything", "reversed", "empty key",
	"limit", "limit negative", "limit reached", "revision old", "revision at compacted", "revision current", "revision future",
	"revision compacted", "revision negative", "keys only", "count only", "min mod", "max mod", "min create", "max create",
	"serializable", "linearizable", "filter and limit", "keys only with lease", "empty result", "target without order and limit",
}

var streamMarks = []string{
	"single key", "range", "limit", "limit reached", "keys only", "count only", "revision old", "revision compacted",
	"revision future", "serializable", "several chunks", "empty result", "empty key", "custom sort", "revision filter", "ascending by key",
}

var putMarks = []string{
	"new key", "overwrite", "prev_kv", "prev_kv of new key", "empty value", "lease", "lease unknown", "lease replaced",
	"ignore_value", "ignore_value with value", "ignore_value on new key", "ignore_lease", "ignore_lease with lease",
	"ignore_lease on new key", "empty key", "too large", "too large for gRPC",
}

var deleteMarks = []string{
	"single key", "missing key", "range", "from key", "reversed", "prev_kv", "empty key", "leased key", "several keys",
}

var txnMarks = []string{
	"succeeded", "failed", "read only", "serializable", "no operation", "no compare", "nested", "nested twice", "empty operation",
	"range", "range old", "range compacted", "range future", "range negative", "nested range old", "nested range compacted",
	"put", "put with lease", "put with unknown lease", "put prev_kv", "put ignore_value", "delete", "delete prev_kv",
	"read after own write", "delete from key with put", "put twice", "put and delete overlap", "put in both branches",
	"nested delete then nested put", "nested put then nested delete", "too many compares", "too many successes",
	"too many failures", "too many nested", "compare range", "compare missing key", "compare other union", "too large",
}

var leaseMarks = []string{
	"grant chosen id", "grant negative id", "grant generated id", "grant existing id", "grant ttl too large", "grant minimum ttl",
	"revoke", "revoke with keys", "revoke unknown", "keep alive", "keep alive unknown", "time to live", "time to live with keys",
	"time to live unknown", "leases", "expired",
}

var watchMarks = []string{
	"automatic id", "chosen id", "duplicate id", "single key", "range end", "prefix", "from key", "empty key", "empty range",
	"filter put", "filter delete", "filter both", "prev_kv", "fragment", "progress_notify", "start now", "start old", "start current",
	"start future", "far future", "start compacted", "start negative", "cancel", "cancel unknown id", "cancel after compaction",
	"progress request", "stream closed",
}

// errorTexts are all errors that the generated requests can reach.
var errorTexts = []string{
	"InvalidArgument: etcdserver: key is not provided",
	"InvalidArgument: etcdserver: key not found",
	"InvalidArgument: etcdserver: value is provided",
	"InvalidArgument: etcdserver: lease is provided",
	"InvalidArgument: etcdserver: too many operations in txn request",
	"InvalidArgument: etcdserver: duplicate key given in txn request",
	"InvalidArgument: etcdserver: invalid sort option",
	"InvalidArgument: etcdserver: request is too large",
	"OutOfRange: etcdserver: mvcc: required revision has been compacted",
	"OutOfRange: etcdserver: mvcc: required revision is a future revision",
	"OutOfRange: etcdserver: too large lease TTL",
	"NotFound: etcdserver: requested lease not found",
	"FailedPrecondition: etcdserver: lease already exists",
	"ResourceExhausted: grpc: received message larger than max (N vs. 2097152)",
	"Unimplemented: RangeStream does not support custom sort orders",
	"Unimplemented: RangeStream does not support revision filters",
	"watch: etcdserver: mvcc: required revision has been compacted",
	"watch: mvcc: watcher range is empty",
	"watch: mvcc: duplicate watch ID provided on the WatchStream",
	"watch: compacted after it was created",
}

// sortMarks are all pairs of sort order and target, and one invalid of each.
func sortMarks() []string {
	marks := []string{"sort invalid order", "sort invalid target"}
	for order := range int32(len(pb.RangeRequest_SortOrder_name)) {
		for target := range int32(len(pb.RangeRequest_SortTarget_name)) {
			marks = append(marks, sortMark(pb.RangeRequest_SortOrder(order), pb.RangeRequest_SortTarget(target)))
		}
	}
	return marks
}

func sortMark(order pb.RangeRequest_SortOrder, target pb.RangeRequest_SortTarget) string {
	if pb.RangeRequest_SortOrder_name[int32(order)] == "" {
		return "sort invalid order"
	}
	if pb.RangeRequest_SortTarget_name[int32(target)] == "" {
		return "sort invalid target"
	}
	return "sort " + strings.ToLower(target.String()+" "+order.String())
}

// compareMarks are all pairs of compare target and result, and one unknown of
// each.
func compareMarks() []string {
	marks := []string{"compare unknown target", "compare unknown result"}
	for target := range int32(len(pb.Compare_CompareTarget_name)) {
		for result := range int32(len(pb.Compare_CompareResult_name)) {
			marks = append(marks, compareMark(pb.Compare_CompareTarget(target), pb.Compare_CompareResult(result)))
		}
	}
	return marks
}

func compareMark(target pb.Compare_CompareTarget, result pb.Compare_CompareResult) string {
	if pb.Compare_CompareTarget_name[int32(target)] == "" {
		return "compare unknown target"
	}
	if pb.Compare_CompareResult_name[int32(result)] == "" {
		return "compare unknown result"
	}
	return "compare " + strings.ToLower(target.String()+" "+result.String())
}

func prefixed(prefix string, lists ...[]string) []string {
	var out []string
	for _, names := range lists {
		for _, n := range names {
			out = append(out, prefix+n)
		}
	}
	return out
}
