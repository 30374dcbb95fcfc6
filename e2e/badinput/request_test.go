package badinput

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/e2e/cluster"
)

const requestTimeout = 20 * time.Second

func connect(t *testing.T, m *cluster.Member) (context.Context, *grpc.ClientConn) {
	t.Helper()
	conn, err := m.Dial()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), requestTimeout)
	t.Cleanup(func() { cancel(); conn.Close() })
	return ctx, conn
}

func put(t *testing.T, m *cluster.Member, key, value string) {
	t.Helper()
	ctx, conn := connect(t, m)
	if _, err := pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: []byte(key), Value: []byte(value)}); err != nil {
		t.Fatalf("put at %s: %v", m.Name, err)
	}
}

func expect(t *testing.T, m *cluster.Member, key, want string) {
	t.Helper()
	ctx, conn := connect(t, m)
	r, err := pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: []byte(key)})
	if err != nil || len(r.Kvs) != 1 || string(r.Kvs[0].Value) != want {
		t.Errorf("%s of %s: %v, %v, want %q", key, m.Name, r, err, want)
	}
}

// raw sends bytes as they are in place of a message.
type raw struct{}

func (raw) Name() string                  { return "proto" }
func (raw) Marshal(v any) ([]byte, error) { return v.([]byte), nil }
func (raw) Unmarshal([]byte, any) error   { return nil }

// Goal: a request that is no request is answered with an error and does no
// harm. Method: garbage in place of messages, unknown methods, other
// protocols on both ports; after each the member must serve.
func TestGarbage(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Binary: cluster.ServerUnderTest(t), Members: 3})
	m := c.Members[0]
	put(t, m, "k", "v")
	noise := bytes.Repeat([]byte{0xff, 0x00, 0x7f}, 5000)
	for _, g := range []struct {
		name, method string
		body         []byte
		want         codes.Code
		or           codes.Code // also allowed; OK means none
	}{
		{"garbage for a put", "/etcdserverpb.KV/Put", noise, codes.Internal, 0},
		{"garbage for a transaction", "/etcdserverpb.KV/Txn", noise, codes.Internal, 0},
		{"cut message", "/etcdserverpb.KV/Put", []byte{0x0a, 0x20, 'k'}, codes.Internal, 0},
		{"endless varint", "/etcdserverpb.KV/Range", bytes.Repeat([]byte{0xff}, 40), codes.Internal, 0},
		{"deep transaction", "/etcdserverpb.KV/Txn", deepTxn(20_000), codes.Internal, codes.InvalidArgument},
		{"unknown fields", "/etcdserverpb.KV/Range", []byte{0x0a, 0x01, 'k', 0xfa, 0x3f, 0x01, 'x'}, codes.OK, 0},
		{"unknown method", "/etcdserverpb.KV/Explode", nil, codes.Unimplemented, 0},
		{"unknown service", "/some.Service/Call", nil, codes.Unimplemented, 0},
		{"no path", "/", nil, codes.Unimplemented, 0},
		{"too large", "/etcdserverpb.KV/Put", putOf(3 << 20), codes.ResourceExhausted, 0},
	} {
		t.Run(g.name, func(t *testing.T) {
			ctx, conn := connect(t, m)
			err := conn.Invoke(ctx, g.method, g.body, nil, grpc.ForceCodec(raw{}))
			if got := status.Code(err); got != g.want && (g.or == codes.OK || got != g.or) {
				t.Errorf("code %v, want %v (%v)", got, g.want, err)
			}
			expect(t, m, "k", "v")
		})
	}
	for _, addr := range []string{m.ClientAddr, m.PeerAddr} {
		for i, bytesSent := range [][]byte{noise, []byte("GET / HTTP/1.1\r\n\r\n"), []byte("\x16\x03\x01\x02\x00\x01\x00"), nil, []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + string(noise))} {
			t.Run(fmt.Sprintf("%s noise %d", addr, i), func(t *testing.T) {
				conn, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = conn.Write(bytesSent)
				conn.Close()
				expect(t, m, "k", "v")
			})
		}
	}
	for _, m := range c.Members {
		if m.Exited() {
			t.Errorf("%s has ended: %v", m.Name, m.ExitError())
		}
	}
	put(t, c.Members[1], "k", "w")
	expect(t, m, "k", "w")
}

func putOf(size int) []byte {
	// field 1 (key) "k", field 2 (value) size bytes
	head := []byte{0x0a, 0x01, 'k', 0x12}
	for n := uint(size); ; n >>= 7 {
		if n < 0x80 {
			return append(append(head, byte(n)), make([]byte, size)...)
		}
		head = append(head, byte(n)|0x80)
	}
}

// deepTxn nests transactions deeper than any parser should follow.
func deepTxn(depth int) []byte {
	var reversed []byte // the message from its end: inner lengths come first
	for range depth {
		for _, field := range []byte{0x22, 0x12} { // RequestOp.request_txn, TxnRequest.success
			n := uint(len(reversed))
			var varint []byte
			for ; n >= 0x80; n >>= 7 {
				varint = append(varint, byte(n)|0x80)
			}
			varint = append(varint, byte(n))
			for i := len(varint) - 1; i >= 0; i-- {
				reversed = append(reversed, varint[i])
			}
			reversed = append(reversed, field)
		}
	}
	out := make([]byte, len(reversed))
	for i, b := range reversed {
		out[len(out)-1-i] = b
	}
	return out
}

// Limits of the minority test.
const (
	refusalLimit = 10 * time.Second // linearizable requests without a majority
	localLimit   = 2 * time.Second  // serializable reads
)

// Goal: without a majority linearizable requests fail in bounded time and
// serializable ones are answered. Method: kill two of three, ask the third.
func TestMinority(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Binary: cluster.ServerUnderTest(t), Members: 3})
	m := c.Members[1]
	put(t, m, "k", "v")
	c.Members[0].Kill()
	c.Members[2].Kill()
	_, conn := connect(t, m)
	kv := pb.NewKVClient(conn)
	key := []byte("k")
	refused := func(name string, f func(context.Context) error) {
		ctx, cancel := context.WithTimeout(t.Context(), requestTimeout)
		defer cancel()
		began := time.Now()
		err := f(ctx)
		took := time.Since(began)
		t.Logf("%s: %v after %v", name, err, took.Round(time.Millisecond))
		// etcd says DeadlineExceeded when it could not even propose a write.
		known := status.Code(err) == codes.Unavailable || status.Code(err) == codes.DeadlineExceeded
		if !known || took > refusalLimit {
			t.Errorf("%s: %v after %v, want Unavailable or DeadlineExceeded within %v", name, err, took, refusalLimit)
		}
	}
	refused("read", func(ctx context.Context) error {
		_, err := kv.Range(ctx, &pb.RangeRequest{Key: key})
		return err
	})
	refused("put", func(ctx context.Context) error {
		_, err := kv.Put(ctx, &pb.PutRequest{Key: []byte("other")})
		return err
	})
	refused("member list", func(ctx context.Context) error {
		_, err := pb.NewClusterClient(conn).MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
		return err
	})
	ctx, cancel := context.WithTimeout(t.Context(), requestTimeout)
	defer cancel()
	began := time.Now()
	r, err := kv.Range(ctx, &pb.RangeRequest{Key: key, Serializable: true})
	if err != nil || len(r.Kvs) != 1 || string(r.Kvs[0].Value) != "v" || time.Since(began) > localLimit {
		t.Errorf("serializable read: %v, %v after %v", r, err, time.Since(began))
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, c.Members[0], "k", "v")
}

// Goal: the quota stops writes with etcd's error, and deleting and compacting
// make room. Method: a small quota, values until the error.
func TestQuota(t *testing.T) {
	cluster.NeedsQuorate(t) // etcd needs a defragmentation and an alarm disarmed
	m := one(t)
	set(m, "--quota-backend-bytes", "4194304")
	mustStart(t, m)
	ctx, conn := connect(t, m)
	kv := pb.NewKVClient(conn)
	fillUntil(t, ctx, kv, 100, codes.ResourceExhausted, "etcdserver: mvcc: database space exceeded")
	makeRoom(t, ctx, kv)
}

// Goal: a full disk stops writes before it can tear anything, what was
// acknowledged stays, and deleting makes room. Method: a small file system in
// memory; skipped where it cannot be mounted.
func TestDiskFull(t *testing.T) {
	cluster.NeedsQuorate(t)
	m := one(t)
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("cannot mount a small file system: %v: %s", err, out)
	}
	t.Cleanup(func() { m.Kill(); _ = exec.Command("umount", "-l", dir).Run() })
	m.DataDir = dir + "/data"
	set(m, "--data-dir", m.DataDir)
	mustStart(t, m)
	ctx, conn := connect(t, m)
	kv := pb.NewKVClient(conn)
	stored := fillUntil(t, ctx, kv, 1000, codes.ResourceExhausted, "")
	if m.Exited() {
		t.Fatalf("the server ended: %v", m.ExitError())
	}
	m.Kill()
	mustStart(t, m)
	ctx, conn = connect(t, m)
	kv = pb.NewKVClient(conn)
	r, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte("fill/"), RangeEnd: []byte("fill0"), CountOnly: true})
	if err != nil || r.Count < int64(stored) {
		t.Fatalf("after the restart: %v, %v, acknowledged %d", r, err, stored)
	}
	makeRoom(t, ctx, kv)
}

// fillUntil writes values of 512 KiB until one is refused and returns how
// many were acknowledged.
func fillUntil(t *testing.T, ctx context.Context, kv pb.KVClient, limit int, code codes.Code, text string) int {
	t.Helper()
	value := bytes.Repeat([]byte("x"), 512<<10)
	for i := range limit {
		_, err := kv.Put(ctx, &pb.PutRequest{Key: fmt.Appendf(nil, "fill/%04d", i), Value: value})
		if err == nil {
			continue
		}
		if st := status.Convert(err); st.Code() != code || !strings.Contains(st.Message(), text) {
			t.Errorf("refused with %v, want %v %q", err, code, text)
		}
		if i == 0 {
			t.Error("not even one value fits")
		}
		return i
	}
	t.Errorf("%d values of %d bytes were accepted", limit, len(value))
	return limit
}

// makeRoom deletes and compacts, both of which must work in a full store,
// and waits until a write is accepted again.
func makeRoom(t *testing.T, ctx context.Context, kv pb.KVClient) {
	t.Helper()
	d, err := kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte("fill/"), RangeEnd: []byte("fill0")})
	if err != nil {
		t.Fatalf("delete in a full store: %v", err)
	}
	if _, err := kv.Compact(ctx, &pb.CompactionRequest{Revision: d.Header.Revision, Physical: true}); err != nil {
		t.Fatalf("compaction of a full store: %v", err)
	}
	for {
		_, err := kv.Put(ctx, &pb.PutRequest{Key: []byte("again"), Value: []byte("v")})
		if err == nil {
			return
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Fatalf("no room after delete and compaction: %v", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
