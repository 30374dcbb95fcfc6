package server

import (
	"context"
	"slices"

	"google.golang.org/grpc"
)

// The generated service descriptions decode into protobuf messages. For methods whose
// messages the codec reads and writes itself, the functions below put other handlers
// into a copy of the description; reflection and clients see no difference.

// method serves one unary method with a request type of ours. Req is a pointer type's
// element: the handler receives *Req.
func unaryMethod[Req any](s *Server, fullName string, handle func(context.Context, *Req) (any, error)) grpc.MethodHandler {
	info := &grpc.UnaryServerInfo{FullMethod: fullName}
	handler := func(ctx context.Context, req any) (any, error) { return handle(ctx, req.(*Req)) }
	return func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		req := new(Req)
		if err := decode(req); err != nil {
			return nil, err
		}
		return s.unary(ctx, req, info, handler)
	}
}

// routed copies a description of etcd's with the way to a call's keyspace in front of each
// unary method: which keyspace it is must be known before the request is decoded, because a
// request for another node is passed on as it came. Streams find theirs in the interceptor.
// With anywhere set the methods are about the cluster, and answered here wherever the
// keyspace is.
func (s *Server) routed(desc *grpc.ServiceDesc, anywhere bool) *grpc.ServiceDesc {
	out := *desc
	out.Methods = slices.Clone(desc.Methods)
	for i := range out.Methods {
		m := &out.Methods[i]
		m.Handler = s.routedMethod("/"+desc.ServiceName+"/"+m.MethodName, m.Handler, anywhere)
	}
	return &out
}

func (s *Server) routedMethod(fullName string, here grpc.MethodHandler, anywhere bool) grpc.MethodHandler {
	info := &grpc.UnaryServerInfo{FullMethod: fullName}
	return func(srv any, ctx context.Context, decode func(any) error, unary grpc.UnaryServerInterceptor) (any, error) {
		keyspace, elsewhere := s.route(ctx)
		if elsewhere == nil || anywhere && elsewhere.err == nil {
			return here(srv, &call{Context: ctx, keyspace: keyspace}, decode, unary)
		}
		req := new(rawMessage)
		if err := decode(req); err != nil {
			return nil, err
		}
		return s.unary(elsewhere, req, info, nil)
	}
}

// describe copies a generated description with handlers for all its methods and
// streams, by name. A method without one, or a handler without method, is a bug that
// no start survives.
func describe(desc grpc.ServiceDesc, unary map[string]grpc.MethodHandler, streams map[string]grpc.StreamHandler) *grpc.ServiceDesc {
	if len(unary) != len(desc.Methods) || len(streams) != len(desc.Streams) {
		panic("server: " + desc.ServiceName + " has other methods than we serve")
	}
	desc.HandlerType = (*any)(nil)
	desc.Methods = append([]grpc.MethodDesc(nil), desc.Methods...)
	for i := range desc.Methods {
		m := &desc.Methods[i]
		if m.Handler = unary[m.MethodName]; m.Handler == nil {
			panic("server: no handler for " + desc.ServiceName + "/" + m.MethodName)
		}
	}
	desc.Streams = append([]grpc.StreamDesc(nil), desc.Streams...)
	for i := range desc.Streams {
		d := &desc.Streams[i]
		if d.Handler = streams[d.StreamName]; d.Handler == nil {
			panic("server: no handler for " + desc.ServiceName + "/" + d.StreamName)
		}
	}
	return &desc
}
