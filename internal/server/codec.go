package server

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// codec reads our requests and writes our replies itself, and leaves all other messages
// to proto. It is installed on our gRPC server alone, never registered for the process,
// so that a client in the same binary keeps its own.
type codec struct{ metrics *metrics }

// rawMessage is a message that is passed on as it came. Its bytes are not written.
type rawMessage struct{ data []byte }

func (f *rawMessage) slice() mem.BufferSlice { return mem.BufferSlice{mem.SliceBuffer(f.data)} }

// rawMessageCodec is for calls of other nodes, whose messages are raw on both sides.
type rawMessageCodec struct{}

// Name implements encoding.CodecV2.
func (rawMessageCodec) Name() string { return protocodec.Name }

// Marshal implements encoding.CodecV2.
func (rawMessageCodec) Marshal(v any) (mem.BufferSlice, error) { return v.(*rawMessage).slice(), nil }

// Unmarshal implements encoding.CodecV2.
func (rawMessageCodec) Unmarshal(data mem.BufferSlice, v any) error {
	v.(*rawMessage).data = data.Materialize()
	return nil
}

var fallback = encoding.GetCodecV2(protocodec.Name)

// Name implements encoding.CodecV2.
func (*codec) Name() string { return protocodec.Name }

// Marshal implements encoding.CodecV2.
func (c *codec) Marshal(v any) (mem.BufferSlice, error) {
	r, ok := v.(reply)
	if !ok {
		if f, ok := v.(*rawMessage); ok {
			c.metrics.sentBytes.Add(uint64(len(f.data)))
			return f.slice(), nil
		}
		data, err := fallback.Marshal(v)
		c.metrics.sentBytes.Add(uint64(data.Len()))
		return data, err
	}
	n := r.size()
	c.metrics.sentBytes.Add(uint64(n))
	if mem.IsBelowBufferPoolingThreshold(n) {
		buf := make([]byte, n)
		writeReply(r, buf)
		return mem.BufferSlice{mem.SliceBuffer(buf)}, nil
	}
	pool := mem.DefaultBufferPool()
	buf := pool.Get(n)
	writeReply(r, (*buf)[:n])
	return mem.BufferSlice{mem.NewBuffer(buf, pool)}, nil
}

// writeReply fills buf. Size and encode are two halves of one format: a reply for which
// they disagree is a bug, and half a message must not leave.
func writeReply(r reply, buf []byte) {
	if left := r.encode(buf); left != 0 {
		panic(fmt.Sprintf("server: %T announced %d bytes and wrote %d", r, len(buf), len(buf)-left))
	}
}

// Unmarshal implements encoding.CodecV2.
func (c *codec) Unmarshal(data mem.BufferSlice, v any) error {
	c.metrics.receivedBytes.Add(uint64(data.Len()))
	if r, ok := v.(request); ok {
		return r.decode(data.Materialize()) // a copy: gRPC takes its buffers back
	}
	if f, ok := v.(*rawMessage); ok {
		f.data = data.Materialize()
		return nil
	}
	return fallback.Unmarshal(data, v)
}
