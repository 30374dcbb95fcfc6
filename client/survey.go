package client

import (
	"context"
	"maps"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// answer is what one endpoint says of itself and of the keyspace.
type answer struct {
	address  string
	ok       bool   // it said what follows
	member   uint64 // who it is
	answered uint64 // who has answered: another member if it does not carry the keyspace
	leader   uint64 // who leads, as the one who answered believes; 0 nobody
	term     uint64
}

// survey asks all endpoints who leads. What was known before counts for nothing: a cluster may
// have been made anew, with terms that begin again.
func (g *guide) survey(ctx context.Context, conn grpc.ClientConnInterface) {
	ctx, cancel := context.WithTimeout(ctx, surveyTimeout)
	defer cancel()
	if g.endpoints.Load() == nil { // nobody has called yet
		w := new(want)
		_, _ = memberAt(ctx, conn, w)
		g.sawEndpoints(w.took.Load())
	}
	all := g.endpoints.Load()
	if all == nil {
		return
	}
	addresses := (*all)[:min(len(*all), surveyNodesMax)]
	answers := make(chan answer, len(addresses))
	for _, a := range addresses {
		go func() { answers <- ask(ctx, conn, a) }()
	}
	t := tally{members: make(map[string]uint64), without: make(map[string]bool)}
	for range addresses {
		t.add(<-answers)
		if k := t.knowledge(); k.leader != "" { // the others may be slow
			g.known.Store(k)
		}
	}
	g.known.Store(t.knowledge())
}

// ask asks one endpoint.
func ask(ctx context.Context, conn grpc.ClientConnInterface, address string) answer {
	w := &want{must: address}
	member, err := memberAt(ctx, conn, w)
	if err != nil {
		return answer{address: address}
	}
	resp := new(pb.StatusResponse)
	err = invokeProbe(ctx, conn, w, pb.Maintenance_Status_FullMethodName, new(pb.StatusRequest), resp)
	return answer{
		address: address, ok: err == nil, member: member,
		answered: resp.GetHeader().GetMemberId(), leader: resp.Leader, term: resp.RaftTerm,
	}
}

// memberAt is the member at an endpoint. A list of members, unlike anything about a keyspace,
// comes from the node that was asked.
func memberAt(ctx context.Context, conn grpc.ClientConnInterface, w *want) (uint64, error) {
	resp := new(pb.MemberListResponse)
	err := invokeProbe(ctx, conn, w, pb.Cluster_MemberList_FullMethodName, new(pb.MemberListRequest), resp)
	return resp.GetHeader().GetMemberId(), err
}

// probe is a call of a survey. It is no call of the caller's: its failure is nobody's concern
// and neither retried nor logged, so it is handed over beside the interceptors further out.
type probe struct {
	want *want
	err  error
}

type probeKey struct{}

func invokeProbe(ctx context.Context, conn grpc.ClientConnInterface, w *want, method string, req, resp any) error {
	p := &probe{want: w}
	if err := conn.Invoke(context.WithValue(ctx, probeKey{}, p), method, req, resp); err != nil {
		return err
	}
	return p.err
}

// tally puts answers together.
type tally struct {
	term, leader uint64            // the newest term, and who leads in it; 0 nobody as far as known
	members      map[string]uint64 // by the addresses of their endpoints
	without      map[string]bool   // addresses of those that have passed the question on
}

func (t *tally) add(a answer) {
	if !a.ok {
		return
	}
	t.members[a.address] = a.member
	if a.member != a.answered {
		t.without[a.address] = true
	}
	if a.term > t.term || a.term == t.term && a.leader != 0 {
		t.term, t.leader = a.term, a.leader
	}
}

// knowledge is what the answers so far say. Of two endpoints of one node it takes the same
// one each time.
func (t *tally) knowledge() *knowledge {
	k := &knowledge{named: t.leader != 0, term: t.term, without: maps.Clone(t.without)}
	for a, member := range t.members {
		if k.named && member == t.leader && (k.leader == "" || a < k.leader) {
			k.leader = a
		}
	}
	return k
}
