package differential

import (
	"fmt"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// maxTextBytes is how much of a request or answer is printed.
const maxTextBytes = 3000

type kind int

const (
	kindUnary        kind = iota // one request, one response
	kindRangeStream              // one request, a stream of responses
	kindKeepAlive                // one message on the keep-alive stream
	kindWatch                    // one message on watch stream number stream
	kindCloseWatch               // end watch stream number stream
	kindDrain                    // let every watch catch up, compare the events
	kindRestart                  // SIGTERM both servers and start them again
	kindKillRestart              // the same with SIGKILL
	kindAwaitExpiry              // wait until the leased keys in req are gone
	kindAwaitCompact             // wait for the compaction cancel of a watch
)

// step is one thing to do on both servers. It is plain data: a recorded list
// of steps can be run again, in whole or in part.
type step struct {
	kind   kind
	method string        // kindUnary: full gRPC method name
	req    proto.Message // the request, with the reference's lease ids
	stream int           // watch stream number
}

func unary(method string, req proto.Message) step {
	return step{kind: kindUnary, method: method, req: req}
}

func watch(stream int, req *pb.WatchRequest) step {
	return step{kind: kindWatch, req: req, stream: stream}
}

// String prints the step so that a person can repeat it by hand.
func (s step) String() string {
	names := map[kind]string{
		kindRangeStream: "RangeStream", kindKeepAlive: "LeaseKeepAlive",
		kindWatch:      fmt.Sprintf("Watch (stream %d)", s.stream),
		kindCloseWatch: fmt.Sprintf("close watch stream %d", s.stream),
		kindDrain:      "drain watches", kindRestart: "restart (SIGTERM)", kindKillRestart: "restart (SIGKILL)",
		kindAwaitExpiry:  "wait for lease expiry",
		kindAwaitCompact: fmt.Sprintf("wait for compaction cancel (stream %d)", s.stream),
	}
	name := names[s.kind]
	if s.kind == kindUnary {
		name = s.method[strings.LastIndexByte(s.method, '/')+1:]
	}
	return strings.TrimSpace(name + " " + text(s.req))
}

func text(m proto.Message) string {
	if m == nil {
		return ""
	}
	return "{" + shorten(prototext.MarshalOptions{}.Format(m)) + "}"
}

func shorten(s string) string {
	if len(s) <= maxTextBytes {
		return s
	}
	return fmt.Sprintf("%s… (%d bytes in all)", s[:maxTextBytes], len(s))
}

// forTest returns the request with lease ids of the server under test.
func forTest(req proto.Message, leases *leaseMap) proto.Message {
	if req == nil || len(leases.toTest) == 0 {
		return req
	}
	req = proto.Clone(req)
	mapLeases(req.ProtoReflect(), leases)
	return req
}

// leaseFields are the request fields that hold a lease id.
var leaseFields = map[protoreflect.FullName]bool{
	"etcdserverpb.PutRequest.lease":          true,
	"etcdserverpb.Compare.lease":             true,
	"etcdserverpb.LeaseGrantRequest.ID":      true,
	"etcdserverpb.LeaseRevokeRequest.ID":     true,
	"etcdserverpb.LeaseKeepAliveRequest.ID":  true,
	"etcdserverpb.LeaseTimeToLiveRequest.ID": true,
}

func mapLeases(m protoreflect.Message, leases *leaseMap) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case leaseFields[fd.FullName()]:
			m.Set(fd, protoreflect.ValueOfInt64(leases.test(v.Int())))
		case fd.IsList() && fd.Message() != nil:
			for i := range v.List().Len() {
				mapLeases(v.List().Get(i).Message(), leases)
			}
		case fd.Message() != nil && !fd.IsList():
			mapLeases(v.Message(), leases)
		}
		return true
	})
}
