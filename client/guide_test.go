package client

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
)

// statusConn is a connection to one node, on which only surveys call.
type statusConn struct {
	grpc.ClientConnInterface
	node    endpoint
	surveys int
	leader  uint64
}

func (s *statusConn) Invoke(ctx context.Context, _ string, _, reply any, _ ...grpc.CallOption) error {
	ctx.Value(probeKey{}).(*probe).want.took.Store(&s.node)
	switch resp := reply.(type) {
	case *pb.MemberListResponse:
		resp.Header = &pb.ResponseHeader{MemberId: 1}
	case *pb.StatusResponse:
		s.surveys++
		resp.Header, resp.Leader, resp.RaftTerm = &pb.ResponseHeader{MemberId: 1}, s.leader, 1
	}
	return nil
}

// However many calls and doubts there are, the nodes are asked once in learnPeriod, and
// without calls not at all (L5).
func TestSurveysAreRare(t *testing.T) {
	now := time.Duration(0)
	g := newGuide(func() time.Duration { return now })
	conn := &statusConn{node: endpoint{address: "n1", all: &[]string{"n1"}}, leader: 1}
	g.sawEndpoints(&conn.node)
	calls := func(want int, when string) {
		t.Helper()
		conn.surveys = 0
		for range 100 {
			g.called()
			g.surveys.Wait()
		}
		if conn.surveys != want {
			t.Errorf("%s: %d surveys, want %d", when, conn.surveys, want)
		}
	}
	g.begin(t.Context(), conn)
	g.surveys.Wait()
	calls(0, "all is known")
	if g.known.Load().leader != "n1" {
		t.Fatalf("known is %+v", g.known.Load())
	}
	g.failedAt("n1")
	if g.known.Load().leader != "" {
		t.Error("a node that failed still leads")
	}
	calls(0, "in doubt, too early")
	now += learnPeriod
	calls(1, "in doubt")
	now += learnPeriod
	calls(0, "all is known again")
	now = 2*learnPeriod + relearnPeriod
	calls(1, "long ago")
	conn.leader = 0
	g.doubt()
	for range 3 {
		now += learnPeriod
		calls(1, "nobody leads")
	}
	now += learnPeriod
	g.close()
	calls(0, "closed")
}

// The newest term counts, and a leader named in it; names of addresses do not matter.
func TestTally(t *testing.T) {
	for _, test := range []struct {
		name    string
		answers []answer
		want    knowledge
	}{
		{"all agree", []answer{{address: "a", ok: true, member: 1, answered: 1, leader: 2, term: 5}, {address: "b", ok: true, member: 2, answered: 2, leader: 2, term: 5}},
			knowledge{leader: "b", named: true, term: 5}},
		{"one is behind", []answer{{address: "a", ok: true, member: 1, answered: 1, leader: 1, term: 6}, {address: "b", ok: true, member: 2, answered: 2, leader: 2, term: 5}},
			knowledge{leader: "a", named: true, term: 6}},
		{"an election", []answer{{address: "a", ok: true, member: 1, answered: 1, leader: 1, term: 6}, {address: "b", ok: true, member: 2, answered: 2, leader: 0, term: 7}},
			knowledge{term: 7}},
		{"one does not know yet", []answer{{address: "a", ok: true, member: 1, answered: 1, leader: 1, term: 6}, {address: "b", ok: true, member: 2, answered: 2, leader: 0, term: 6}},
			knowledge{leader: "a", named: true, term: 6}},
		{"not among the endpoints", []answer{{address: "a", ok: true, member: 1, answered: 1, leader: 9, term: 6}},
			knowledge{named: true, term: 6}},
		{"elsewhere", []answer{{address: "a", ok: true, member: 1, answered: 2, leader: 2, term: 1}, {address: "b", ok: true, member: 2, answered: 2, leader: 2, term: 1}, {address: "c"}},
			knowledge{leader: "b", named: true, term: 1, without: map[string]bool{"a": true}}},
	} {
		for _, backwards := range []bool{false, true} {
			answers := slices.Clone(test.answers)
			if backwards {
				slices.Reverse(answers)
			}
			all := tally{members: make(map[string]uint64), without: make(map[string]bool)}
			for _, a := range answers {
				all.add(a)
			}
			got := all.knowledge()
			if got.leader != test.want.leader || got.named != test.want.named || got.term != test.want.term || !maps.Equal(got.without, test.want.without) {
				t.Errorf("%s: %+v, want %+v", test.name, *got, test.want)
			}
		}
	}
}

// What is wanted is taken if it is connected, and something else at once if it is not (L2).
func TestPicker(t *testing.T) {
	const ready, down, connecting = connectivity.Ready, connectivity.TransientFailure, connectivity.Connecting
	without := func(addresses ...string) map[string]bool {
		set := make(map[string]bool)
		for _, a := range addresses {
			set[a] = true
		}
		return set
	}
	for _, test := range []struct {
		name   string
		states [3]connectivity.State // of a, b, c
		want   *want
		chosen string // of several any
		err    error
	}{
		{"no wish", [3]connectivity.State{ready, ready, ready}, &want{}, "abc", nil},
		{"a wish", [3]connectivity.State{ready, ready, ready}, &want{prefer: "b"}, "b", nil},
		{"a wish that is down", [3]connectivity.State{ready, down, ready}, &want{prefer: "b"}, "ac", nil},
		{"a wish that is connecting", [3]connectivity.State{ready, connecting, down}, &want{prefer: "b"}, "a", nil},
		{"a wish that is unknown", [3]connectivity.State{ready, down, down}, &want{prefer: "x"}, "a", nil},
		{"nothing is connected", [3]connectivity.State{connecting, down, down}, &want{prefer: "a"}, "", nil},
		{"without the keyspace", [3]connectivity.State{ready, ready, down}, &want{avoid: without("a")}, "b", nil},
		{"all without the keyspace", [3]connectivity.State{ready, ready, down}, &want{avoid: without("a", "b")}, "ab", nil},
		{"this one", [3]connectivity.State{ready, ready, ready}, &want{must: "c"}, "c", nil},
		{"this one to come", [3]connectivity.State{ready, ready, connecting}, &want{must: "c"}, "", balancer.ErrNoSubConnAvailable},
		{"this one that is down", [3]connectivity.State{ready, ready, down}, &want{must: "c"}, "", errNotConnected},
	} {
		p := new(picker)
		for i, state := range test.states {
			p.endpoints = append(p.endpoints, endpoint{address: string("abc"[i]), state: state})
		}
		seen := make(map[string]bool)
		for range 9 {
			e, err := p.choose(test.want)
			if err != test.err {
				t.Errorf("%s: error %v, want %v", test.name, err, test.err)
			}
			if e != nil {
				seen[e.address] = true
			}
		}
		for _, a := range []string{"a", "b", "c"} {
			if seen[a] != slices.Contains([]byte(test.chosen), a[0]) {
				t.Errorf("%s: chosen are %v, want %q", test.name, seen, test.chosen)
			}
		}
	}
}
