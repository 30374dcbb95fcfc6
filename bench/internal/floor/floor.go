// Package floor is a gRPC server that answers etcd's hot requests at once and
// stores nothing: what remains is the price of gRPC, of the sockets and of the
// client. Nobody who keeps this transport is faster.
//
// Deliberately absent: durability, replication, memory of any put, watches.
// Every member says that it leads.
package floor

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
)

// Shape is what the floor's answers look like.
type Shape struct {
	ValueBytes int
	ListKeys   int // keys in the answer to a range without limit
}

// Serve answers on the address of --listen-client-urls until the process ends.
// All other flags of a member are accepted and mean nothing.
func Serve(args []string, shape Shape) error {
	address, err := listenAddress(args)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("floor: %w", err)
	}
	grpcServer := grpc.NewServer()
	pb.RegisterKVServer(grpcServer, newServer(shape))
	return grpcServer.Serve(listener)
}

func listenAddress(args []string) (string, error) {
	flags := flag.NewFlagSet("floor", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	clientURL := flags.String("listen-client-urls", "", "address to serve on")
	for _, ignored := range []string{
		"name", "data-dir", "advertise-client-urls", "listen-peer-urls", "initial-advertise-peer-urls",
		"initial-cluster", "initial-cluster-state", "initial-cluster-token",
	} {
		flags.String(ignored, "", "")
	}
	if err := flags.Parse(args); err != nil {
		return "", fmt.Errorf("floor: %w", err)
	}
	return strings.TrimPrefix(*clientURL, "http://"), nil
}

// server answers from values made once; nothing is written after newServer.
type server struct {
	pb.UnimplementedKVServer
	header *pb.ResponseHeader
	get    *pb.RangeResponse
	list   *pb.RangeResponse
	put    *pb.PutResponse
	txn    *pb.TxnResponse
}

func newServer(shape Shape) *server {
	s := &server{header: &pb.ResponseHeader{Revision: 1 << 20, RaftTerm: 2}}
	kv := &mvccpb.KeyValue{
		Key: []byte("read/00000000"), Value: make([]byte, shape.ValueBytes),
		CreateRevision: 1 << 19, ModRevision: 1 << 19, Version: 1,
	}
	s.get = &pb.RangeResponse{Header: s.header, Kvs: []*mvccpb.KeyValue{kv}, Count: 1}
	s.list = &pb.RangeResponse{Header: s.header, Count: int64(shape.ListKeys)}
	for range shape.ListKeys {
		s.list.Kvs = append(s.list.Kvs, kv)
	}
	s.put = &pb.PutResponse{Header: s.header}
	s.txn = &pb.TxnResponse{
		Header: s.header, Succeeded: true,
		Responses: []*pb.ResponseOp{{Response: &pb.ResponseOp_ResponsePut{ResponsePut: &pb.PutResponse{Header: s.header}}}},
	}
	return s
}

func (s *server) Range(_ context.Context, request *pb.RangeRequest) (*pb.RangeResponse, error) {
	if len(request.RangeEnd) == 0 {
		return s.get, nil
	}
	return s.list, nil
}

func (s *server) Put(context.Context, *pb.PutRequest) (*pb.PutResponse, error) { return s.put, nil }

func (s *server) Txn(context.Context, *pb.TxnRequest) (*pb.TxnResponse, error) { return s.txn, nil }
