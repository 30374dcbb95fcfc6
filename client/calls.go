package client

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// call says what is known of a method.
type call struct {
	// leads: the leader answers it with one hop fewer.
	leads bool
	// reads: it changes nothing, and may be made any number of times.
	reads bool
}

// calls are etcd's methods. What is missing, a method of a later version, may change something
// and goes to any node.
var calls = map[string]call{
	pb.KV_Range_FullMethodName:              {leads: true, reads: true}, // a serializable one does not: see callOf
	pb.KV_RangeStream_FullMethodName:        {leads: true, reads: true},
	pb.KV_Put_FullMethodName:                {leads: true},
	pb.KV_DeleteRange_FullMethodName:        {leads: true},
	pb.KV_Txn_FullMethodName:                {leads: true}, // a Txn that only reads is taken for a write
	pb.KV_Compact_FullMethodName:            {leads: true},
	pb.Lease_LeaseGrant_FullMethodName:      {leads: true},
	pb.Lease_LeaseRevoke_FullMethodName:     {leads: true},
	pb.Lease_LeaseKeepAlive_FullMethodName:  {leads: true},
	pb.Lease_LeaseTimeToLive_FullMethodName: {leads: true, reads: true},
	pb.Lease_LeaseLeases_FullMethodName:     {reads: true},
	pb.Watch_Watch_FullMethodName:           {reads: true},

	pb.Cluster_MemberList_FullMethodName:     {reads: true},
	pb.Maintenance_Status_FullMethodName:     {reads: true},
	pb.Maintenance_Hash_FullMethodName:       {reads: true},
	pb.Maintenance_HashKV_FullMethodName:     {reads: true},
	pb.Maintenance_Snapshot_FullMethodName:   {reads: true},
	pb.Maintenance_MoveLeader_FullMethodName: {leads: true}, // no other node does it

	pb.Auth_AuthStatus_FullMethodName:   {reads: true},
	pb.Auth_Authenticate_FullMethodName: {reads: true}, // it makes a token, and may make another
	pb.Auth_UserList_FullMethodName:     {reads: true},
	pb.Auth_UserGet_FullMethodName:      {reads: true},
	pb.Auth_RoleList_FullMethodName:     {reads: true},
	pb.Auth_RoleGet_FullMethodName:      {reads: true},
}

// callOf is what is known of a method and its request. A stream's request is nil.
func callOf(method string, req any) call {
	c := calls[method]
	if r, ok := req.(*pb.RangeRequest); ok && r.Serializable {
		c.leads = false
	}
	return c
}
