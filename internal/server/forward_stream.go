package server

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
)

// forwardStream passes a streaming call on. It counts among the server's streams, and is ended
// with them. It takes two goroutines: this one brings the member's messages to the client,
// another one the client's to the member. Each waits for whoever is slow at its other end, so
// that no more is in between than gRPC's windows hold.
func (s *Server) forwardStream(a *away, client grpc.ServerStream, info *grpc.StreamServerInfo) (err error) {
	if a.err != nil {
		return a.err
	}
	entry, err := s.streams.enter(&call{Context: a.Context}, false)
	if err != nil {
		return err
	}
	defer s.streams.leave(entry) // ends both goroutines
	member, leave, err := s.forward.open(outgoing(entry.ctx, a.name), a, info)
	if err != nil {
		return endOf(entry.ctx, err)
	}
	defer leave()
	defer func() { s.forward.count(err, true) }()
	go passRequests(client, member, info.IsClientStream)
	if err := passReplies(member, client); err != nil {
		s.passedOn(entry.ctx, err)
		return endOf(entry.ctx, err)
	}
	return nil
}

// open begins a streaming call at the first of the members that can be reached. leave gives its
// place on the connection back.
func (f *forwarder) open(ctx context.Context, a *away, info *grpc.StreamServerInfo) (stream grpc.ClientStream, leave func(), err error) {
	desc := &grpc.StreamDesc{ClientStreams: info.IsClientStream, ServerStreams: info.IsServerStream}
	for _, member := range a.members {
		conn, leave, err := f.forStream(member)
		if err != nil {
			return nil, nil, err
		}
		stream, err := conn.NewStream(ctx, desc, info.FullMethod)
		if err == nil {
			return stream, leave, nil
		}
		leave()
		if beforeStart(err) != reachedNobody {
			f.count(err, true)
			return nil, nil, err
		}
	}
	err = errUnreachable(a.name)
	f.count(err, false)
	return nil, nil, err
}

// passRequests ends when the client has no more to say or the call has ended.
func passRequests(client grpc.ServerStream, member grpc.ClientStream, many bool) {
	for {
		m := new(rawMessage)
		if client.RecvMsg(m) != nil { // its end; or the call's, which ends the other half too
			member.CloseSend()
			return
		}
		if member.SendMsg(m) != nil || !many { // what is wrong is in passReplies' status
			return
		}
	}
}

// passReplies ends with the call. Its error is the call's status.
func passReplies(member grpc.ClientStream, client grpc.ServerStream) error {
	if header, err := member.Header(); err == nil && header != nil {
		if err := client.SendHeader(withoutConnection(header)); err != nil {
			return err
		}
	}
	for {
		m := new(rawMessage)
		err := member.RecvMsg(m)
		if err == nil {
			err = client.SendMsg(m)
		} else {
			trailer := withoutConnection(member.Trailer())
			delete(trailer, notHereTrailer) // between members
			client.SetTrailer(trailer)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
