package differential

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/quorate/quorate/e2e/cluster"
)

// callTimeout bounds one request on one server.
const callTimeout = 20 * time.Second

// side is one of the two servers with its connection and open streams.
type side struct {
	name    string
	cluster *cluster.Cluster
	member  *cluster.Member // the member that requests go to

	conn      *grpc.ClientConn
	keepAlive pb.Lease_LeaseKeepAliveClient
	watches   map[int]*watchStream

	// mutate, if set, may change an answer before it is compared. It stands
	// for a server with a bug and proves that the comparison can fail.
	mutate func(method string, m proto.Message)
}

// answer is what a server said: a message or a status.
type answer struct {
	resp proto.Message
	code codes.Code
	text string // of the status; empty if OK
}

func (a answer) String() string {
	if a.code != codes.OK {
		return fmt.Sprintf("error %v: %q", a.code, a.text)
	}
	return text(a.resp)
}

// gone says that the status was made by the client library because the server
// did not answer. Two such statuses are never equal answers.
func (a answer) gone() bool {
	switch a.code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Internal:
		return !strings.HasPrefix(a.text, "etcdserver: ")
	}
	return false
}

func newSide(name string, c *cluster.Cluster, member int) (*side, error) {
	s := &side{name: name, cluster: c, member: c.Members[member]}
	return s, s.connect()
}

func (s *side) connect() error {
	conn, err := s.member.Dial()
	s.conn, s.watches, s.keepAlive = conn, make(map[int]*watchStream), nil
	return err
}

func (s *side) disconnect() {
	for _, w := range s.watches {
		w.cancel()
	}
	s.conn.Close()
}

// restart ends all members and starts them again.
func (s *side) restart(ctx context.Context, kill bool) error {
	s.disconnect()
	if kill {
		s.cluster.Kill()
	} else if err := s.cluster.Stop(); err != nil {
		return err
	}
	if err := s.cluster.Start(ctx); err != nil {
		return err
	}
	if err := s.connect(); err != nil {
		return err
	}
	return s.served(ctx)
}

// served waits until the member answers itself: one that has a replica may, just started, not know
// that yet and pass requests on. A stream that was passed on would end when that other member's
// replica moves.
func (s *side) served(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	list, err := pb.NewClusterClient(s.conn).MemberList(ctx, &pb.MemberListRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	at := slices.IndexFunc(list.Members, func(m *pb.Member) bool { return m.Name == s.member.Name })
	if at < 0 {
		return fmt.Errorf("%s: no member %s in %v", s.name, s.member.Name, list.Members)
	}
	for {
		resp, err := pb.NewKVClient(s.conn).Range(ctx, &pb.RangeRequest{Key: []byte("served")}, grpc.WaitForReady(true))
		if err == nil && resp.Header.MemberId == list.Members[at].ID {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: member %s does not serve the keyspace itself: %v", s.name, s.member.Name, err)
		}
	}
}

// call sends one unary request.
func (s *side) call(ctx context.Context, method string, req proto.Message) answer {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp := newResponse[method]()
	err := s.conn.Invoke(ctx, method, req, resp, grpc.WaitForReady(true))
	return s.answer(method, resp, err)
}

func (s *side) answer(method string, resp proto.Message, err error) answer {
	if err != nil {
		st, _ := status.FromError(err)
		return answer{code: st.Code(), text: st.Message()}
	}
	if s.mutate != nil {
		s.mutate(method, resp)
	}
	return answer{resp: resp}
}

// rangeStream sends one streaming read and joins the chunks to one response.
// It checks what must hold of every chunk.
func (s *side) rangeStream(ctx context.Context, req *pb.RangeRequest) (a answer, chunks int) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stream, err := pb.NewKVClient(s.conn).RangeStream(ctx, req, grpc.WaitForReady(true))
	joined := &pb.RangeResponse{}
	for err == nil {
		var chunk *pb.RangeStreamResponse
		if chunk, err = stream.Recv(); err != nil {
			break
		}
		r := chunk.GetRangeResponse()
		if joined.Header != nil {
			err = status.Errorf(codes.Internal, "test: a chunk after the one with the header: %v", r)
			break
		}
		chunks++
		joined.Kvs = append(joined.Kvs, r.GetKvs()...)
		joined.Header, joined.More, joined.Count = r.GetHeader(), r.GetMore(), r.GetCount()
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return s.answer("RangeStream", joined, err), chunks
}

// keepAliveOnce sends one message on the keep-alive stream and waits for the
// answer to it.
func (s *side) keepAliveOnce(ctx context.Context, req *pb.LeaseKeepAliveRequest) answer {
	if s.keepAlive == nil {
		stream, err := pb.NewLeaseClient(s.conn).LeaseKeepAlive(ctx, grpc.WaitForReady(true))
		if err != nil {
			return s.answer("LeaseKeepAlive", nil, err)
		}
		s.keepAlive = stream
	}
	if err := s.keepAlive.Send(req); err != nil {
		return s.answer("LeaseKeepAlive", nil, err)
	}
	stuck := time.AfterFunc(callTimeout, func() { s.conn.Close() })
	defer stuck.Stop()
	resp, err := s.keepAlive.Recv()
	return s.answer("LeaseKeepAlive", resp, err)
}
