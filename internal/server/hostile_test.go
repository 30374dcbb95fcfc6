package server

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// h2 is an HTTP/2 client that sends whatever it is told to.
type h2 struct {
	t    *testing.T
	conn net.Conn
}

const (
	frameData, frameHeaders, frameReset, frameSettings, framePing, frameContinuation = 0, 1, 3, 4, 6, 9
	flagEndStream, flagEndHeaders                                                    = 1, 4
)

func (r *rig) h2(t *testing.T) *h2 {
	t.Helper()
	h := &h2{t, dial(t, r.addr)}
	h.write([]byte(preface), frame(frameSettings, 0, 0, nil))
	return h
}

// write sends bytes; an error means that the server closed the connection, which is for
// the test to find out by reading.
func (h *h2) write(parts ...[]byte) bool {
	for _, p := range parts {
		if _, err := h.conn.Write(p); err != nil {
			return false
		}
	}
	return true
}

// closed reports whether the server ends the connection within a while.
func (h *h2) closed() bool {
	h.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, err := io.Copy(io.Discard, h.conn)
	var netErr net.Error
	return !errors.As(err, &netErr) || !netErr.Timeout()
}

func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return append(binary.BigEndian.AppendUint32(b, stream), payload...)
}

// headerBlock is HPACK without compression: literals that are never indexed.
func headerBlock(pairs ...string) (b []byte) {
	for i := 0; i < len(pairs); i += 2 {
		b = append(b, 0x10)
		for _, s := range pairs[i : i+2] {
			if len(s) >= 127 {
				panic("long header")
			}
			b = append(append(b, byte(len(s))), s...)
		}
	}
	return b
}

func rangeHeaders() []byte {
	return headerBlock(":method", "POST", ":scheme", "http", ":path", pb.KV_Range_FullMethodName,
		":authority", "x", "content-type", "application/grpc", "te", "trailers")
}

// stillServes checks that another client is served quickly.
func (r *rig) stillServes(t *testing.T) {
	t.Helper()
	start := time.Now()
	if _, err := r.kv.Put(testContext(t), &pb.PutRequest{Key: bs("a")}); err != nil {
		t.Errorf("put: %v", err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("put took %v", took)
	}
}

// Streams opened and reset at once do not pile up handlers (CVE-2023-44487).
func TestRapidReset(t *testing.T) {
	r := newRig(t)
	h := r.h2(t)
	go io.Copy(io.Discard, h.conn)
	before := runtime.NumGoroutine()
	headers := rangeHeaders()
	for stream := uint32(1); stream < 20_000; stream += 2 {
		if !h.write(frame(frameHeaders, flagEndHeaders, stream, headers), frame(frameReset, 0, stream, []byte{0, 0, 0, 8})) {
			break // the server had enough
		}
	}
	if n := runtime.NumGoroutine() - before; n > 2*int(r.server.config.ConcurrentStreamsMax) {
		t.Errorf("%d more goroutines", n)
	}
	r.stillServes(t)
}

// A header that never ends is cut off at the limit (CVE-2023-45288).
func TestContinuationFlood(t *testing.T) {
	r := newRig(t)
	h := r.h2(t)
	h.write(frame(frameHeaders, 0, 1, rangeHeaders()))
	junk := headerBlock(strings.Repeat("k", 100), strings.Repeat("v", 100))
	for range 100 {
		junk = append(junk, headerBlock(strings.Repeat("k", 100), strings.Repeat("v", 100))...)
	}
	junk = junk[:16_000/202*202]
	for range 1000 {
		if !h.write(frame(frameContinuation, 0, 1, junk)) {
			break
		}
	}
	if !h.closed() {
		t.Error("the connection is still open")
	}
	r.stillServes(t)
}

// A frame larger than was agreed ends the connection; a header list larger than the
// limit ends the call.
func TestOversizedFrames(t *testing.T) {
	r := newRig(t)
	h := r.h2(t)
	h.write(frame(frameHeaders, flagEndHeaders, 1, rangeHeaders()), frame(frameData, 0, 1, make([]byte, 1<<17)))
	if !h.closed() {
		t.Error("still open after an oversized frame")
	}
	r.stillServes(t)
}

// A message that announces 4 GiB is refused before anything is allocated.
func TestAnnouncedLengthIsNotBelieved(t *testing.T) {
	r := newRig(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 8 {
		h := r.h2(t)
		h.write(frame(frameHeaders, flagEndHeaders, 1, rangeHeaders()),
			frame(frameData, flagEndStream, 1, []byte{0, 0xff, 0xff, 0xff, 0xff, 'x'}))
		h.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		io.Copy(io.Discard, h.conn)
		h.conn.Close()
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 64<<20 {
		t.Errorf("%d MiB allocated", got>>20)
	}
	waitFor(t, func() bool {
		return r.server.metrics.rpc.method(pb.KV_Range_FullMethodName).started.Load() == 0 && r.server.openPorts()[0].openCount() <= 1
	})
	r.stillServes(t)
}

// Pings and settings by the thousand end the connection that sends them.
func TestControlFrameFloods(t *testing.T) {
	r := newRig(t)
	for name, flood := range map[string][]byte{
		"ping":     frame(framePing, 0, 0, make([]byte, 8)),
		"settings": frame(frameSettings, 0, 0, nil),
	} {
		h := r.h2(t)
		for range 50_000 {
			if !h.write(flood) {
				break
			}
		}
		if name == "ping" && !h.closed() {
			t.Errorf("%s: still open", name)
		}
		h.conn.Close()
		r.stillServes(t)
	}
}

// A compressed message is refused: we install no decompressor, so none can be a bomb.
func TestCompressionIsRefused(t *testing.T) {
	r := newRig(t)
	h := r.h2(t)
	block := append(rangeHeaders(), headerBlock("grpc-encoding", "gzip")...)
	h.write(frame(frameHeaders, flagEndHeaders, 1, block), frame(frameData, flagEndStream, 1, []byte{1, 0, 0, 0, 1, 'x'}))
	h.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	io.Copy(io.Discard, h.conn)
	if n := r.server.metrics.rpc.method(pb.KV_Range_FullMethodName).started.Load(); n != 0 {
		t.Errorf("%d calls started", n)
	}
	r.stillServes(t)
}

// A path that is no method, or not even a path, is an error of the call.
func TestOddPaths(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	for _, path := range []string{"/etcdserverpb.KV/Nothing", "/nothing/Put", "/x", "/", "/etcdserverpb.KV/Put/"} {
		err := r.conn.Invoke(ctx, path, &pb.PutRequest{}, &pb.PutResponse{})
		if code := status.Code(err); code != codes.Unimplemented {
			t.Errorf("%q: %v", path, err)
		}
	}
	// Without the leading slash it is not the method either (CVE-2026-33186).
	h := r.h2(t)
	block := headerBlock(":method", "POST", ":scheme", "http", ":path", "etcdserverpb.KV/Put",
		":authority", "x", "content-type", "application/grpc", "te", "trailers")
	h.write(frame(frameHeaders, flagEndHeaders, 1, block), frame(frameData, flagEndStream, 1, []byte{0, 0, 0, 0, 3, 0x0a, 1, 'k'}))
	h.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	io.Copy(io.Discard, h.conn)
	if n := r.server.metrics.rpc.method(pb.KV_Put_FullMethodName).started.Load(); n != 0 {
		t.Errorf("%d puts started", n)
	}
}

// A header list above the limit is refused by the server, not only by polite clients.
func TestHeaderListLimit(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	h := r.h2(t)
	block := rangeHeaders()
	for len(block) < 15_000 {
		block = append(block, headerBlock(strings.Repeat("k", 100), strings.Repeat("v", 100))...)
	}
	h.write(frame(frameHeaders, flagEndHeaders, 1, block), frame(frameData, flagEndStream, 1, []byte{0, 0, 0, 0, 3, 0x0a, 1, 'k'}))
	h.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	io.Copy(io.Discard, h.conn)
	if n := r.server.metrics.rpc.method(pb.KV_Range_FullMethodName).started.Load(); n != 0 {
		t.Errorf("a call with a header list of %d bytes and more was served", len(block))
	}
	if _, err := r.kv.Range(ctx, &pb.RangeRequest{Key: bs("a")}); err != nil {
		t.Error(err)
	}
}
