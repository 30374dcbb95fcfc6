package transport_test

import (
	"fmt"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/transport"
)

// Packets are encoded back to back, and decoded without copying what they carry.
func ExampleDecodePackets() {
	frame := transport.AppendPacket(nil, &transport.Packet{
		Kind:    transport.PacketConsensus,
		Message: consensus.Message{Kind: 3, Group: 1, From: 1, To: 2, Epoch: 7, Commit: 41},
	})
	frame = transport.AppendPacket(frame, &transport.Packet{Kind: transport.PacketForward, Body: []byte("put a=1")})

	packets, err := transport.DecodePackets(frame, nil)
	fmt.Println(len(packets), err)
	fmt.Println(packets[0].Kind, packets[0].Message.Epoch, packets[0].Message.Commit)
	fmt.Printf("%v %s\n", packets[1].Kind, packets[1].Body)

	_, err = transport.DecodePackets(frame[:len(frame)-1], nil)
	fmt.Println(err)
	// Output:
	// 2 <nil>
	// consensus 7 41
	// forward put a=1
	// malformed peer data: 55 bytes behind packet 1
}
