package differential

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// Full names of the unary methods that are compared.
const (
	methodRange       = "/etcdserverpb.KV/Range"
	methodPut         = "/etcdserverpb.KV/Put"
	methodDelete      = "/etcdserverpb.KV/DeleteRange"
	methodTxn         = "/etcdserverpb.KV/Txn"
	methodCompact     = "/etcdserverpb.KV/Compact"
	methodLeaseGrant  = "/etcdserverpb.Lease/LeaseGrant"
	methodLeaseRevoke = "/etcdserverpb.Lease/LeaseRevoke"
	methodLeaseTTL    = "/etcdserverpb.Lease/LeaseTimeToLive"
	methodLeases      = "/etcdserverpb.Lease/LeaseLeases"
	methodMemberList  = "/etcdserverpb.Cluster/MemberList"
	methodStatus      = "/etcdserverpb.Maintenance/Status"
	methodHash        = "/etcdserverpb.Maintenance/Hash"
	methodHashKV      = "/etcdserverpb.Maintenance/HashKV"
)

// newResponse makes the empty response of each unary method.
var newResponse = map[string]func() proto.Message{
	methodRange:       func() proto.Message { return new(pb.RangeResponse) },
	methodPut:         func() proto.Message { return new(pb.PutResponse) },
	methodDelete:      func() proto.Message { return new(pb.DeleteRangeResponse) },
	methodTxn:         func() proto.Message { return new(pb.TxnResponse) },
	methodCompact:     func() proto.Message { return new(pb.CompactionResponse) },
	methodLeaseGrant:  func() proto.Message { return new(pb.LeaseGrantResponse) },
	methodLeaseRevoke: func() proto.Message { return new(pb.LeaseRevokeResponse) },
	methodLeaseTTL:    func() proto.Message { return new(pb.LeaseTimeToLiveResponse) },
	methodLeases:      func() proto.Message { return new(pb.LeaseLeasesResponse) },
	methodMemberList:  func() proto.Message { return new(pb.MemberListResponse) },
	methodStatus:      func() proto.Message { return new(pb.StatusResponse) },
	methodHash:        func() proto.Message { return new(pb.HashResponse) },
	methodHashKV:      func() proto.Message { return new(pb.HashKVResponse) },
}
