package differential

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Leases of a run live longer than the run; those that expire do so while the
// run waits for it.
const (
	longTTL     = 100_000
	maxTTL      = 9_000_000_000
	leasesAlive = 12 // beyond this the generator revokes
)

func (g *generator) leaseTurn() []step {
	if len(g.model.leases) > leasesAlive {
		return []step{unary(methodLeaseRevoke, &pb.LeaseRevokeRequest{ID: g.lease()})}
	}
	switch g.rng.IntN(6) {
	case 0:
		return []step{unary(methodLeaseGrant, &pb.LeaseGrantRequest{TTL: longTTL + g.rng.Int64N(1000)})}
	case 1:
		return []step{unary(methodLeaseGrant, &pb.LeaseGrantRequest{ID: g.chosenLease(), TTL: longTTL})}
	case 2:
		return []step{unary(methodLeases, &pb.LeaseLeasesRequest{})}
	case 3:
		return []step{unary(methodLeaseTTL, &pb.LeaseTimeToLiveRequest{ID: g.lease(), Keys: g.chance(60)})}
	case 4:
		return []step{{kind: kindKeepAlive, req: &pb.LeaseKeepAliveRequest{ID: g.lease()}}}
	}
	return []step{unary(methodLeaseRevoke, &pb.LeaseRevokeRequest{ID: g.lease()})}
}

// someLease returns a live lease and the steps that grant it if there is none.
func (g *generator) someLease() ([]step, int64) {
	if id := g.lease(); id != 0 {
		return nil, id
	}
	id := g.chosenLease()
	return []step{unary(methodLeaseGrant, &pb.LeaseGrantRequest{ID: id, TTL: longTTL})}, id
}

func (g *generator) leaseSpecial() []step {
	return leaseCorners[g.turn("lease", len(leaseCorners))](g)
}

var leaseCorners = []func(*generator) []step{
	func(g *generator) []step {
		return []step{unary(methodLeaseGrant, &pb.LeaseGrantRequest{TTL: longTTL})}
	},
	func(g *generator) []step { // negative ids are ids like others
		g.created |= 3
		return []step{unary(methodLeaseGrant, &pb.LeaseGrantRequest{ID: g.chosenLease(), TTL: maxTTL})}
	},
	func(g *generator) []step {
		steps, id := g.someLease()
		return append(steps, unary(methodLeaseGrant, &pb.LeaseGrantRequest{ID: id, TTL: longTTL}))
	},
	func(g *generator) []step { // the size of the TTL is checked before the id
		steps, id := g.someLease()
		return append(steps, unary(methodLeaseGrant, &pb.LeaseGrantRequest{ID: []int64{0, id}[g.rng.IntN(2)], TTL: maxTTL + 1}))
	},
	func(g *generator) []step { // too short a TTL is raised, and the lease revoked before it can expire
		id := g.chosenLease()
		return []step{
			unary(methodLeaseGrant, &pb.LeaseGrantRequest{ID: id, TTL: []int64{0, 1, -5}[g.rng.IntN(3)]}),
			unary(methodLeaseRevoke, &pb.LeaseRevokeRequest{ID: id}),
		}
	},
	func(g *generator) []step { // one revision deletes all keys of a lease, in key order
		id := g.chosenLease()
		steps := []step{unary(methodLeaseGrant, &pb.LeaseGrantRequest{ID: id, TTL: longTTL})}
		for range 4 {
			steps = append(steps, unary(methodPut, &pb.PutRequest{Key: g.key(), Value: g.value(), Lease: id}))
		}
		return append(steps,
			unary(methodLeaseTTL, &pb.LeaseTimeToLiveRequest{ID: id, Keys: true}),
			unary(methodLeaseRevoke, &pb.LeaseRevokeRequest{ID: id}))
	},
	func(g *generator) []step {
		return []step{unary(methodLeaseRevoke, &pb.LeaseRevokeRequest{ID: []int64{0, g.unknownLease()}[g.rng.IntN(2)]})}
	},
	func(g *generator) []step {
		return []step{{kind: kindKeepAlive, req: &pb.LeaseKeepAliveRequest{ID: []int64{0, g.unknownLease()}[g.rng.IntN(2)]}}}
	},
	func(g *generator) []step {
		steps, id := g.someLease()
		return append(steps, step{kind: kindKeepAlive, req: &pb.LeaseKeepAliveRequest{ID: id}})
	},
	func(g *generator) []step {
		return []step{unary(methodLeaseTTL, &pb.LeaseTimeToLiveRequest{ID: g.unknownLease(), Keys: g.chance(50)})}
	},
	func(g *generator) []step { return []step{unary(methodLeases, &pb.LeaseLeasesRequest{})} },
}

// expiryTurn lets one lease run out: a short lease, two keys, and silence
// until they are gone on both servers.
func (g *generator) expiryTurn() []step {
	id := g.chosenLease()
	prefix := fmt.Sprintf("expire/%d/", g.created)
	return []step{
		{kind: kindDrain},
		unary(methodLeaseGrant, &pb.LeaseGrantRequest{ID: id, TTL: 2}),
		unary(methodPut, &pb.PutRequest{Key: []byte(prefix + "b"), Lease: id}),
		unary(methodPut, &pb.PutRequest{Key: []byte(prefix + "a"), Lease: id}),
		{kind: kindAwaitExpiry, req: &pb.RangeRequest{Key: []byte(prefix), RangeEnd: prefixEnd([]byte(prefix)), Serializable: true}},
		unary(methodLeaseTTL, &pb.LeaseTimeToLiveRequest{ID: id, Keys: true}),
		{kind: kindDrain},
	}
}
