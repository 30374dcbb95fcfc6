//go:build unix

package transport

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/quorate/quorate/internal/env"
)

// outboundPair is an outbound connection over a real socket, without its goroutines, and
// the peer's end of it.
func outboundPair(t *testing.T) (*outbound, net.Conn) {
	t.Helper()
	tr := New(Config{Identity: Identity{Node: 1, Incarnation: 1}, Network: env.TCP(), Clock: env.SystemClock(), Handler: newSink()})
	t.Cleanup(func() { tr.Close() })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); far.Close() })
	o := newOutbound(newPeer(tr, Peer{ID: 2}, nil), conn)
	o.p.out.setOpen(true)
	return o, far
}

// Goal: the farewell is a frame of its own, with nothing behind it, and is left out when
// the frame before it was not written to its end. Method: say it after a whole batch, with
// more packets waiting; and while the kernel has taken a part of one.
func TestFarewellKeepsFrames(t *testing.T) {
	for name, size := range map[string]int{"after a whole batch": 100, "in the middle of a frame": 12 << 20} {
		t.Run(name, func(t *testing.T) {
			o, far := outboundPair(t)
			if !o.p.send(&Packet{Kind: PacketForward, Body: make([]byte, size)}) {
				t.Fatal("the packet was not taken")
			}
			whole := o.writeAtOnce()
			if whole != (size < 1<<20) {
				t.Fatalf("the kernel has taken the whole batch: %v", whole)
			}
			want := o.writing.done
			if whole {
				want += len(appendFrame(nil, frameBye, nil))
			}
			o.sayBye()
			o.p.send(&Packet{Kind: PacketForward, Body: make([]byte, 10)})
			if o.writeAtOnce() {
				t.Error("something was written after the farewell")
			}
			if err := o.conn.Close(); err != nil {
				t.Fatal(err)
			}
			if err := far.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			if got, err := io.Copy(io.Discard, far); err != nil || got != int64(want) {
				t.Errorf("the peer has read %d bytes, want %d: %v", got, want, err)
			}
		})
	}
}
