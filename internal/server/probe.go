package server

import (
	"context"
	"math"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/quorate/quorate/internal/store"
)

// keyspaceProbe answers the health endpoints from a keyspace. One that is on other members is
// as healthy as calls for it are that this node passes on.
type keyspaceProbe struct {
	node    Node
	forward *forwarder
	name    string
}

func (s *Server) probeOf(keyspace string) probe {
	return &keyspaceProbe{node: s.node, forward: s.forward, name: keyspace}
}

func (p *keyspaceProbe) Status() KeyspaceStatus {
	if k, ok := p.node.Keyspace(p.name); ok {
		return k.Status()
	}
	return KeyspaceStatus{Keyspace: p.name, Leader: leaderElsewhere}
}

// leaderElsewhere stands for the leader of a keyspace on other members. Whether there is one a
// read will tell.
const leaderElsewhere = math.MaxUint64

func (p *keyspaceProbe) read(ctx context.Context, linearizable bool) error {
	k, ok := p.node.Keyspace(p.name)
	if !ok {
		return p.readElsewhere(ctx, linearizable)
	}
	if err := waitReadable(ctx, k, !linearizable); err != nil {
		return err
	}
	return withView(k, func(view *store.View) error {
		_, err := view.Range(&store.RangeRequest{Key: []byte{0}, Limit: 1, KeysOnly: true})
		return err
	})
}

func (p *keyspaceProbe) readElsewhere(ctx context.Context, linearizable bool) error {
	members, err := p.node.Carriers(ctx, p.name)
	if err != nil {
		return err
	}
	request, err := fallback.Marshal(&pb.RangeRequest{Key: []byte{0}, Limit: 1, KeysOnly: true, Serializable: !linearizable})
	if err != nil {
		return err
	}
	_, err = p.forward.unary(&away{Context: ctx, name: p.name, members: members}, pb.KV_Range_FullMethodName, &rawMessage{request.Materialize()})
	return err
}
