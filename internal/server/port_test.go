package server

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/internal/env"
)

// startPort runs a port on loopback with an echo behind each protocol: the first line
// it answers names the protocol, then it echoes.
func startPort(t *testing.T, limits ConnLimits) (*port, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := newPort(l, limits, env.SystemClock(), slog.New(slog.DiscardHandler))
	echo := func(h *handoff, name string) {
		for {
			c, err := h.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.WriteString(c, name+"\n")
				io.Copy(c, c)
			}()
		}
	}
	go echo(p.grpc, "grpc")
	go echo(p.http, "http")
	served := make(chan error, 1)
	go func() { served <- p.serve() }()
	t.Cleanup(func() {
		p.close()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return p, l.Addr().String()
}

func generousLimits() ConnLimits {
	return ConnLimits{Total: 1000, PerAddress: 1000, Silent: 1000, Handshake: 5 * time.Second}
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

// The protocol is decided by the first byte that differs from the preface, however
// the bytes are cut into segments, and every byte reaches the chosen server.
func TestPortSplitsByPreface(t *testing.T) {
	_, addr := startPort(t, generousLimits())
	for _, test := range []struct {
		name   string
		pieces []string
		want   string
	}{
		{"preface in one piece", []string{preface + "more"}, "grpc"},
		{"preface byte by byte", strings.Split(preface, ""), "grpc"},
		{"plain HTTP", []string{"GET / HTTP/1.1\r\n\r\n"}, "http"},
		{"shares a beginning with the preface", []string{"P", "R", "I", "V /"}, "http"},
		{"POST", []string{"P", "OST / HTTP/1.1\r\n"}, "http"},
		{"differs in the last byte", []string{preface[:23], "x"}, "http"},
		{"not HTTP at all", []string{"\x16\x03\x01"}, "http"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := dial(t, addr)
			for _, piece := range test.pieces {
				if _, err := io.WriteString(c, piece); err != nil {
					t.Fatal(err)
				}
				if len(test.pieces) > 1 && len(test.pieces) < 10 {
					time.Sleep(2 * time.Millisecond) // let the segment arrive alone
				}
			}
			c.(*net.TCPConn).CloseWrite()
			r := bufio.NewReader(c)
			got, err := r.ReadString('\n')
			if err != nil || got != test.want+"\n" {
				t.Fatalf("protocol = %q, %v; want %q", got, err, test.want)
			}
			rest, err := io.ReadAll(r)
			if err != nil || string(rest) != strings.Join(test.pieces, "") {
				t.Fatalf("echo = %q, %v; want the bytes sent", rest, err)
			}
		})
	}
}

// A connection that says nothing is closed after the handshake time, and one that says
// half a preface too.
func TestPortClosesSilentConnections(t *testing.T) {
	limits := generousLimits()
	limits.Handshake = 50 * time.Millisecond
	p, addr := startPort(t, limits)
	silent, half := dial(t, addr), dial(t, addr)
	io.WriteString(half, preface[:10])
	for _, c := range []net.Conn{silent, half} {
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Fatalf("read = %d, %v; want a closed connection", n, err)
		}
	}
	waitFor(t, func() bool { return p.openCount() == 0 })
}

// Goal: a flood of silent connections must not keep a client out that speaks.
// Method: fill the silent queue several times over, then speak.
func TestPortServesDespiteSilentFlood(t *testing.T) {
	limits := generousLimits()
	limits.Silent = 8
	p, addr := startPort(t, limits)
	for range 40 {
		dial(t, addr)
	}
	c := dial(t, addr)
	io.WriteString(c, "GET /")
	if got, err := bufio.NewReader(c).ReadString('\n'); err != nil || got != "http\n" {
		t.Fatalf("got %q, %v", got, err)
	}
	waitFor(t, func() bool { return p.evicted.Load() >= 32 })
	if n := p.openCount(); n > 9 {
		t.Fatalf("%d connections open, want at most 8 silent and 1 speaking", n)
	}
}

func TestPortLimits(t *testing.T) {
	limits := generousLimits()
	limits.PerAddress = 3
	p, addr := startPort(t, limits)
	var held []net.Conn
	for range 3 {
		c := dial(t, addr)
		io.WriteString(c, "GET")
		bufio.NewReader(c).ReadString('\n')
		held = append(held, c)
	}
	over := dial(t, addr)
	if _, err := over.Read(make([]byte, 1)); err == nil {
		t.Fatal("a fourth connection of one address was served")
	}
	if p.refused.Load() != 1 {
		t.Fatalf("refused = %d, want 1", p.refused.Load())
	}
	// A place given back is a place to take again.
	held[0].Close()
	waitFor(t, func() bool { return p.openCount() == 2 })
	c := dial(t, addr)
	io.WriteString(c, "GET")
	if got, err := bufio.NewReader(c).ReadString('\n'); err != nil || got != "http\n" {
		t.Fatalf("got %q, %v", got, err)
	}
}

// The queue survives removals at its head, tail and middle.
func TestSilentQueue(t *testing.T) {
	var q silentQueue
	conns := make([]*sniffed, 5)
	for i := range conns {
		conns[i] = &sniffed{}
		q.push(conns[i])
	}
	for _, i := range []int{2, 0, 4} {
		q.remove(conns[i])
		q.remove(conns[i]) // twice is once
	}
	if q.length != 2 || q.oldest() != conns[1] || conns[1].next != conns[3] || q.tail != conns[3] {
		t.Fatalf("queue broken: %+v", q)
	}
	q.remove(conns[1])
	q.remove(conns[3])
	if q.length != 0 || q.head != nil || q.tail != nil {
		t.Fatalf("queue not empty: %+v", q)
	}
}

// waitFor polls until done holds; for effects that another goroutine reports nowhere.
func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("condition not reached")
		}
	}
}
