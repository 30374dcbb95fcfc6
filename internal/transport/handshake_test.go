package transport

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// refusal is one wrong setting and the sentence it earns.
type refusal struct {
	name   string
	reason Reason
	a, b   func(*Config)
	peers  func() []Peer // of a
	accept func(Hello) error
	want   string
}

// Goal: every refusal is one clear sentence at the dialler, is counted and logged at both
// ends, and is retried without haste. Method: one wrong setting each, ten seconds.
func TestRefusals(t *testing.T) {
	for _, c := range []refusal{
		{
			name: "wrong cluster", reason: ReasonCluster, a: func(c *Config) { c.Identity.Cluster = 0xc2 },
			want: "wrong cluster: a node of cluster c2 reached a node of cluster c1; check the initial cluster, its token and the peer URLs",
		}, {
			name: "wrong node", reason: ReasonNode,
			peers: func() []Peer { return []Peer{{ID: 3, Addr: "b:1", Incarnation: 1}} },
			want:  "wrong node: b is node 2 (node-b) and not node 3; check the peer URLs",
		}, {
			name: "changed incarnation of the dialler", reason: ReasonIncarnation, a: func(c *Config) { c.Identity.Incarnation = 2 },
			want: "changed incarnation: node 1 (node-a) comes as incarnation 2 and the cluster knows 1; its data directory was lost or replaced, so remove the member and add it again",
		}, {
			name: "changed incarnation of the acceptor", reason: ReasonIncarnation, b: func(c *Config) { c.Identity.Incarnation = 7 },
			want: "changed incarnation: node 2 (node-b) comes as incarnation 7 and the cluster knows 1; its data directory was lost or replaced, so remove the member and add it again",
		}, {
			name: "same identity twice", reason: ReasonNode, b: func(c *Config) { c.Identity.Node = 1 },
			peers: func() []Peer { return []Peer{{ID: 2, Addr: "b:1"}} },
			want:  "wrong node: b is node 1 (node-b) and not node 2; check the peer URLs",
		}, {
			name: "the handler says no", reason: ReasonHandler,
			accept: func(h Hello) error { return fmt.Errorf("node %v was removed from the cluster", h.Node) },
			want:   "node 1 was removed from the cluster",
		},
	} {
		t.Run(c.name, func(t *testing.T) { synctest.Test(t, c.run) })
	}
}

func (c refusal) run(t *testing.T) {
	n := newMemNetwork()
	lines := &logLines{}
	with := func(change func(*Config)) func(*Config) {
		return func(config *Config) {
			config.Logger = slogOf(lines)
			if change != nil {
				change(config)
			}
		}
	}
	a, b := start(t, n, "a", with(c.a)), start(t, n, "b", with(c.b))
	defer a.Close()
	defer b.Close()
	b.accept = c.accept
	peers := peersOf("b")
	if c.peers != nil {
		peers = c.peers()
	}
	b.SetPeers(peersOf("a"))
	a.SetPeers(peers)
	time.Sleep(10*time.Second + time.Millisecond)
	s := a.Stats().Peers[0]
	if !s.Refused || s.Problem != c.want || s.Refusals < 10 || s.Refusals > 12 {
		t.Errorf("stats of a: %+v\nwant %q", s, c.want)
	}
	if strings.HasPrefix(a.take(), "up") {
		t.Error("the refused peer was told as up")
	}
	if p := b.Stats().Problem; c.reason != ReasonIncarnation && p != "a: "+c.want {
		t.Errorf("problem shown by b: %q", p)
	}
	if got := lines.matching("WARN peer connection refused peer="); len(got) < 1 || len(got) > 2 {
		t.Errorf("log lines: %q", got)
	}
}

// Goal: a refusal ends soon after its cause. Method: the handler changes its mind.
func TestRefusalEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNetwork()
		a, b := start(t, n, "a", nil), start(t, n, "b", nil)
		defer a.Close()
		defer b.Close()
		known := false
		b.accept = func(Hello) error {
			if !known {
				return errors.New("not known yet")
			}
			return nil
		}
		a.SetPeers(peersOf("b"))
		time.Sleep(5 * time.Second)
		b.recorder.mu.Lock()
		known = true
		b.recorder.mu.Unlock()
		time.Sleep(1100 * time.Millisecond)
		if s := a.peerStats(t, "b"); s.State != "up" || s.Problem != "" {
			t.Errorf("stats: %+v", s)
		}
	})
}

// Goal: the handler sees who connects. Method: compare the hello.
func TestHelloReachesTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t, nil)
		h := b.hellos[0]
		want := Hello{Identity: a.config.Identity, Expected: 2, Boot: a.config.Seed, Purpose: PurposeMessages, Conn: h.Conn}
		if h != want || h.Conn.RemoteAddr().String() != "a" {
			t.Errorf("hello %+v, want %+v", h, want)
		}
	})
}

// Goal: builds of different age find a common version or say that there is none.
func TestVersionNegotiation(t *testing.T) {
	for _, c := range []struct {
		a, b versions
		want uint16 // zero: none
	}{
		{versions{1, 1}, versions{1, 1}, 1},
		{versions{1, 3}, versions{2, 5}, 3},
		{versions{4, 5}, versions{1, 4}, 4},
		{versions{1, 2}, versions{3, 4}, 0},
		{versions{3, 4}, versions{1, 2}, 0},
	} {
		got, ok := c.a.common(c.b)
		if ok != (c.want != 0) || ok && got != c.want {
			t.Errorf("%v and %v: %d, %v", c.a, c.b, got, ok)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		n := newMemNetwork()
		b := start(t, n, "b", nil)
		defer b.Close()
		c, err := n.host("a").Dial(t.Context(), "b:1")
		if err != nil {
			t.Fatal(err)
		}
		h := Hello{Identity: Identity{Cluster: testCluster, Node: 1}, Purpose: PurposeMessages}
		_, _ = c.Write(appendHandshake(versions{7, 9}, append(appendHello(nil, &h), "and more that we do not know"...)))
		theirs, body, err := readHandshake(c)
		if err != nil {
			t.Fatal(err)
		}
		v, err := decodeVerdict(body)
		if err != nil || theirs != ourVersions || v.Reason != ReasonVersion ||
			!strings.Contains(v.Text, "one side speaks 7 to 9, the other 1 to 1") {
			t.Errorf("verdict %+v, %v, %v", v, theirs, err)
		}
	})
}

// Goal: what does not speak our protocol gets nothing and is named in the log.
func TestStrangersAreNamed(t *testing.T) {
	for sent, want := range map[string]string{
		"PRI * HTTP/2.0\r\n\r\n":       "HTTP/2",
		"GET /health HTTP/1.1\r\n\r\n": "HTTP;",
		"\x16\x03\x01\x02\x00\x01\x00": "TLS", // and closes
		"SSH-2.0-OpenSSH_9.2":          "first bytes",
		"abc":                          `it sent "abc" and closed`,
	} {
		synctest.Test(t, func(t *testing.T) {
			n := newMemNetwork()
			lines := &logLines{}
			b := start(t, n, "b", func(c *Config) { c.Logger = slogOf(lines) })
			defer b.Close()
			c, err := n.host("x").Dial(context.Background(), "b:1")
			if err != nil {
				t.Fatal(err)
			}
			if len(sent) == 7 {
				sent += "\x00" // a TLS record is longer
			}
			_, _ = c.Write([]byte(sent))
			if len(sent) < 8 {
				c.Close()
			}
			synctest.Wait()
			if got := lines.matching(want); len(got) != 1 || b.Stats().Refused != 1 || len(b.hellos) != 0 {
				t.Errorf("sent %q, want a line with %q: %q", sent, want, lines.matching(""))
			}
			if rest, err := io.ReadAll(c); len(sent) >= 8 && (err != nil || len(rest) > 0) {
				t.Errorf("the stranger received %q, %v", rest, err)
			}
			c.Close()
		})
	}
}

// Goal: dialling something else than a peer says so. Method: an acceptor that answers HTTP.
func TestDiallingSomethingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNetwork()
		a := start(t, n, "a", nil)
		defer a.Close()
		l, _ := n.host("b").Listen(t.Context(), "b:1")
		defer l.Close()
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.ReadFull(c, make([]byte, handshakeHeaderBytes))
			_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			c.Close()
		}()
		_, err := a.Transport.Probe(t.Context(), "b:1")
		if !errors.Is(err, ErrNotPeer) || !strings.Contains(err.Error(), "handshake with b:1: not a quorate peer: it speaks HTTP") {
			t.Errorf("probe: %v", err)
		}
	})
}

// Goal: a handshake that does not come is ended after HandshakeTimeout, on both sides.
func TestHandshakeHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNetwork()
		a := start(t, n, "a", nil)
		defer a.Close()
		l, _ := n.host("b").Listen(t.Context(), "b:1") // accepts nothing
		defer l.Close()
		began := time.Now()
		if _, err := a.Transport.Probe(t.Context(), "b:1"); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("probe: %v", err)
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("the dialler waited %v", took)
		}
		c, err := n.host("x").Dial(t.Context(), "a:1")
		if err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("read: %v", err)
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("the acceptor waited %v", took)
		}
	})
}

// Goal: a probe gets the handler's answer. Method: ask as a node that is known, as one
// that knows no cluster, and as one of another cluster.
func TestProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNetwork()
		b := start(t, n, "b", nil)
		defer b.Close()
		b.probe = func(h Hello) ProbeReply {
			return ProbeReply{Bootstrapped: true, Member: h.Node == 1, Incarnation: 0x1234, Body: []byte("addresses")}
		}
		for cluster, wantErr := range map[uint64]Reason{testCluster: 0, 0: 0, 0xbad: ReasonCluster} {
			a := start(t, n, "a", func(c *Config) { c.Identity.Cluster = cluster })
			got, err := a.Transport.Probe(t.Context(), "b:1")
			a.Close()
			var refused *RefusedError
			if wantErr != 0 {
				if !errors.As(err, &refused) || refused.Reason != wantErr {
					t.Errorf("cluster %x: %v", cluster, err)
				}
				continue
			}
			want := ProbeReply{Node: b.config.Identity, Bootstrapped: true, Member: true, Incarnation: 0x1234, Body: []byte("addresses")}
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("cluster %x: %v\n%s", cluster, err, diff)
			}
		}
	})
}

func sampleHello() Hello {
	return Hello{
		Identity: Identity{Cluster: 0x1122334455667788, Node: 0xa1b2c3d4e5f6, Incarnation: 3, Disk: 0x1234567890abcdef, Name: "n1", MinLevel: 1, MaxLevel: 2, Terms: "yes"},
		Expected: 0x010203040506, Boot: 0x99aabbccddeeff00, Purpose: PurposeSnapshot,
	}
}

func sampleVerdict() verdict {
	return verdict{Reason: ReasonHandler, Identity: sampleHello().Identity, Boot: 5, Text: "go away"}
}

// Goal: handshakes and frames do not change by accident. Method: a golden file.
func TestConnectionBytesAreGolden(t *testing.T) {
	const file = "testdata/connection_v1.txt"
	hello, v := sampleHello(), sampleVerdict()
	h := SnapshotHeader{Message: samples()[4].packet.Message, Format: 1, Bytes: 1 << 30, Body: []byte("body")}
	header, err := appendSnapshotHeader(nil, &h)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, s := range []struct {
		name  string
		bytes []byte
	}{
		{"hello", appendHandshake(versions{1, 2}, appendHello(nil, &hello))},
		{"verdict", appendHandshake(versions{1, 1}, appendVerdict(nil, &v))},
		{"packets frame", appendFrame(nil, framePackets, AppendPacket(nil, &samples()[5].packet))},
		{"ping", appendStamp(nil, framePing, 0x0102030405060708)},
		{"bye", appendFrame(nil, frameBye, nil)},
		{"echo", appendStamp(nil, frameEcho, 0x0102030405060708)},
		{"snapshot header", header},
		{"snapshot verdict", appendSnapshotVerdict(nil, snapshotVerdict{text: "no space"})},
		{"probe reply", appendProbeReply(nil, &ProbeReply{Bootstrapped: true, Member: true, Incarnation: 2, Body: []byte("body")})},
	} {
		fmt.Fprintf(&b, "# %s\n%s\n", s.name, hex.Dump(s.bytes))
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("golden (-) and encoded (+) differ:\n%s", diff)
	}
}

func FuzzHandshake(f *testing.F) {
	hello, v := sampleHello(), sampleVerdict()
	f.Add(appendHandshake(ourVersions, appendHello(nil, &hello)))
	f.Add(appendHandshake(ourVersions, appendVerdict(nil, &v)))
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, body, err := readHandshake(bytes.NewReader(b))
		if err != nil {
			body = b // the checksum keeps the fuzzer out: let it in
		}
		if h, err := decodeHello(body); err == nil {
			again, err := decodeHello(appendHello(nil, &h))
			if err != nil || again != h {
				t.Fatalf("%+v became %+v, %v", h, again, err)
			}
		}
		if v, err := decodeVerdict(body); err == nil {
			again, err := decodeVerdict(appendVerdict(nil, &v))
			if err != nil || again != v {
				t.Fatalf("%+v became %+v, %v", v, again, err)
			}
		}
		if h, err := decodeSnapshotHeader(body); err == nil && len(h.Body)+len(body) < maxSnapshotBodyBytes {
			if _, err := appendSnapshotHeader(nil, &h); err != nil {
				t.Fatal(err)
			}
		}
		_, _ = decodeProbeReply(body)
		_, _ = decodeSnapshotVerdict(body)
	})
}
