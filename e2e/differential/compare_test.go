package differential

import (
	"fmt"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

func putRequestFor(i int) *pb.PutRequest {
	return &pb.PutRequest{Key: fmt.Appendf(nil, "k/%02d", i), Value: []byte("v"), Lease: int64(7 * (i % 2))}
}

// compared are all message types that a run compares, nested ones included.
func compared() map[protoreflect.FullName]protoreflect.Message {
	found := make(map[protoreflect.FullName]protoreflect.Message)
	var add func(protoreflect.Message)
	add = func(m protoreflect.Message) {
		name := m.Descriptor().FullName()
		if found[name] != nil {
			return
		}
		found[name] = m
		fields := m.Descriptor().Fields()
		for i := range fields.Len() {
			switch fd := fields.Get(i); {
			case fd.Message() == nil:
			case fd.IsList():
				add(m.New().Mutable(fd).List().NewElement().Message())
			default:
				add(m.New().Mutable(fd).Message())
			}
		}
	}
	for _, m := range []proto.Message{new(pb.LeaseKeepAliveResponse), new(pb.WatchResponse)} {
		add(m.ProtoReflect())
	}
	for _, m := range newResponse {
		add(m().ProtoReflect())
	}
	return found
}

// Goal: a difference in any field of any response is found, unless the list
// of exceptions excuses it (I1). Method: by reflection, set one field of one
// copy of each message type at a time and compare with the empty message.
func TestEveryFieldIsCompared(t *testing.T) {
	count := 0
	for name, m := range compared() {
		fields := m.Descriptor().Fields()
		for i := range fields.Len() {
			count++
			fd := fields.Get(i)
			changed := m.New()
			setField(changed, fd)
			same := compareMessages(m.New().Interface(), changed.Interface(), newLeaseMap()) == ""
			treat, excused := treatments[fd.FullName()]
			if mayDiffer := excused && treat == ignored; same != mayDiffer {
				t.Errorf("%s.%s: excused %v, but compares equal %v", name, fd.Name(), mayDiffer, same)
			}
		}
	}
	t.Logf("%d fields of %d messages checked", count, len(compared()))
}

// Goal: the list of exceptions names fields that exist. Method: look each up
// among the messages compared.
func TestExceptionsNameFields(t *testing.T) {
	messages := compared()
	for _, e := range notCompared {
		m := messages[e.field.Parent()]
		if m == nil || m.Descriptor().Fields().ByName(e.field.Name()) == nil {
			t.Errorf("%s is not a field of a response", e.field)
		}
		if e.reason == "" {
			t.Errorf("%s has no reason", e.field)
		}
	}
}

// setField gives fd a value that is neither zero nor absent.
func setField(m protoreflect.Message, fd protoreflect.FieldDescriptor) {
	switch {
	case fd.IsList():
		list := m.Mutable(fd).List()
		if fd.Message() != nil {
			list.Append(list.NewElement())
		} else {
			list.Append(scalar(fd))
		}
	case fd.Message() != nil:
		m.Mutable(fd)
	default:
		m.Set(fd, scalar(fd))
	}
}

func scalar(fd protoreflect.FieldDescriptor) protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte("x"))
	case protoreflect.StringKind:
		return protoreflect.ValueOfString("x")
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(1)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(99)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(99)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(99)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(99)
	}
	panic(fmt.Sprintf("no value for a field of kind %v", fd.Kind()))
}

// Goal: differences deep inside a message are found and excused ones are not
// reported. Method: pairs of messages and the verdict.
func TestCompare(t *testing.T) {
	leases := newLeaseMap()
	leases.learn(5, 9)
	kv := func(lease, mod int64) *pb.RangeResponse {
		return &pb.RangeResponse{Kvs: []*mvccpb.KeyValue{{Key: []byte("k"), Lease: lease, ModRevision: mod}}}
	}
	nest := func(rev int64) *pb.TxnResponse {
		inner := &pb.TxnResponse{Responses: []*pb.ResponseOp{{Response: &pb.ResponseOp_ResponsePut{
			ResponsePut: &pb.PutResponse{Header: &pb.ResponseHeader{Revision: rev}}}}}}
		return &pb.TxnResponse{Responses: []*pb.ResponseOp{{Response: &pb.ResponseOp_ResponseTxn{ResponseTxn: inner}}}}
	}
	ids := func(ids ...int64) *pb.LeaseLeasesResponse {
		r := &pb.LeaseLeasesResponse{}
		for _, id := range ids {
			r.Leases = append(r.Leases, &pb.LeaseStatus{ID: id})
		}
		return r
	}
	for _, c := range []struct {
		name      string
		want, got proto.Message
		equal     bool
	}{
		{"mapped lease", kv(5, 1), kv(9, 1), true},
		{"unmapped lease", kv(5, 1), kv(5, 1), false},
		{"chosen lease", kv(6, 1), kv(6, 1), true},
		{"deep revision", nest(3), nest(4), false},
		{"deep equal", nest(3), nest(3), true},
		{"header only on one side", &pb.PutResponse{Header: &pb.ResponseHeader{}}, &pb.PutResponse{}, false},
		{"other cluster", &pb.PutResponse{Header: &pb.ResponseHeader{ClusterId: 1}}, &pb.PutResponse{Header: &pb.ResponseHeader{ClusterId: 2}}, true},
		{"no cluster", &pb.PutResponse{Header: &pb.ResponseHeader{ClusterId: 1}}, &pb.PutResponse{Header: &pb.ResponseHeader{}}, false},
		{"ttl one second apart", &pb.LeaseTimeToLiveResponse{TTL: 7}, &pb.LeaseTimeToLiveResponse{TTL: 8}, true},
		{"ttl two seconds apart", &pb.LeaseTimeToLiveResponse{TTL: 7}, &pb.LeaseTimeToLiveResponse{TTL: 9}, false},
		{"ttl of nothing", &pb.LeaseTimeToLiveResponse{TTL: -1}, &pb.LeaseTimeToLiveResponse{TTL: 0}, false},
		{"keys in another order", &pb.LeaseTimeToLiveResponse{Keys: [][]byte{[]byte("a"), []byte("b")}}, &pb.LeaseTimeToLiveResponse{Keys: [][]byte{[]byte("b"), []byte("a")}}, true},
		{"other keys", &pb.LeaseTimeToLiveResponse{Keys: [][]byte{[]byte("a")}}, &pb.LeaseTimeToLiveResponse{Keys: [][]byte{[]byte("b")}}, false},
		{"leases in another order", ids(5, 6), ids(6, 9), true},
		{"other leases", ids(5, 6), ids(6, 8), false},
		{"another message", &pb.PutResponse{}, &pb.RangeResponse{}, false},
	} {
		if d := compareMessages(c.want, c.got, leases); (d == "") != c.equal {
			t.Errorf("%s: equal %v, want %v (%s)", c.name, d == "", c.equal, d)
		}
	}
}

// Goal: only a longer time that remains is excused where leaders move. Method: answers whose
// times differ, compared after the excuse.
func TestExcuseRenewal(t *testing.T) {
	for _, c := range []struct {
		name      string
		want, got int64
		equal     bool
	}{
		{"anew", 5, 60, true},
		{"longer than granted", 5, 61, false},
		{"shorter", 50, 30, false},
		{"no such lease", -1, 60, false},
	} {
		want := &pb.LeaseTimeToLiveResponse{TTL: c.want, GrantedTTL: 60}
		got := &pb.LeaseTimeToLiveResponse{TTL: c.got, GrantedTTL: 60}
		excuseRenewal(want, got)
		if d := compareMessages(want, got, newLeaseMap()); (d == "") != c.equal {
			t.Errorf("%s: difference %q, want equal %v", c.name, d, c.equal)
		}
	}
}
