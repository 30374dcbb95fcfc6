package load

import (
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec used below
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// reply receives an answer. It is decoded into message only if decode is set
// (L4); otherwise its bytes are dropped after they have arrived.
type reply struct {
	message proto.Message
	decode  bool
}

// lightCodec is gRPC's protobuf codec that can leave a reply undecoded.
type lightCodec struct {
	encoding.CodecV2
}

func newLightCodec() lightCodec {
	return lightCodec{encoding.GetCodecV2("proto")}
}

func (c lightCodec) Unmarshal(data mem.BufferSlice, v any) error {
	r, ok := v.(*reply)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	if !r.decode {
		return nil
	}
	return c.CodecV2.Unmarshal(data, r.message)
}
