package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/api/quorate/v1"
	"github.com/quorate/quorate/internal/env"
	"github.com/quorate/quorate/internal/pki"
	"github.com/quorate/quorate/internal/pki/pkitest"
)

// tlsRig is what the clients and the servers of a test need of TLS.
type tlsRig struct {
	t         *testing.T
	authority *pkitest.Authority
	store     *pki.Store
}

// newTLS is TLS whose servers want a certificate of every client.
func newTLS(t *testing.T) *tlsRig {
	t.Helper()
	authority, dir := pkitest.NewAuthority(t), t.TempDir()
	certFile, keyFile := authority.Sign(t, nil).Write(t, dir, "server")
	store, err := pki.Open(env.OSFS(), env.SystemClock(), slog.New(slog.DiscardHandler), pki.Config{
		CertFile: certFile, KeyFile: keyFile, CAFile: pkitest.Write(t, dir, "ca.crt", authority.PEM),
	})
	if err != nil {
		t.Fatal(err)
	}
	return &tlsRig{t, authority, store}
}

// secured serves one more port of r, in TLS, of a keyspace or, if that is empty, an ordinary one.
func (s *tlsRig) secured(r *rig, keyspace string) *rig {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	l = tls.NewListener(l, s.store.Server(Protocols...))
	served := make(chan error, 1)
	go func() {
		if keyspace == "" {
			served <- r.server.Serve(l)
		} else {
			served <- r.server.ServeKeyspace(l, keyspace)
		}
	}()
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		r.server.Stop(ctx)
		if err := <-served; err != nil {
			s.t.Errorf("Serve: %v", err)
		}
	})
	return &rig{t: s.t, node: r.node, server: r.server, reg: r.reg, addr: l.Addr().String()}
}

// client is TLS for a client whose certificate has these URIs.
func (s *tlsRig) client(uris ...string) *tls.Config {
	return s.authority.Client(s.t, s.authority.Sign(s.t, nil, uris...))
}

// as is r as a client in TLS meets it.
func (r *rig) as(config *tls.Config, options ...grpc.DialOption) *rig {
	r.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+r.addr, append(options, grpc.WithTransportCredentials(credentials.NewTLS(config)))...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	return &rig{t: r.t, node: r.node, server: r.server, addr: r.addr, conn: conn, kv: pb.NewKVClient(conn)}
}

const ofOther = CertificateURI + "other"

// Goal: a port in TLS is what it is without: etcd's client, probes, and both protocols on one
// port; who has no certificate is not let in.
func TestTLSPort(t *testing.T) {
	r, s, ctx := newRig(t), newTLS(t), testContext(t)
	secured := s.secured(r, "")
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{"https://" + secured.addr}, TLS: s.client()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	watch := c.Watch(clientv3.WithRequireLeader(ctx), "k", clientv3.WithCreatedNotify())
	<-watch
	if _, err := c.Put(ctx, "k", strings.Repeat("v", 1<<20)); err != nil {
		t.Fatal(err)
	}
	if seen := <-watch; len(seen.Events) != 1 {
		t.Errorf("the watch saw %+v", seen)
	}
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: s.client(), ForceAttemptHTTP2: true, DisableKeepAlives: true}}
	healthy, err := web.Get("https://" + secured.addr + "/health")
	if err != nil {
		t.Fatal(err)
	}
	defer healthy.Body.Close()
	if body, _ := io.ReadAll(healthy.Body); healthy.StatusCode != http.StatusOK || !strings.Contains(string(body), `"true"`) {
		t.Errorf("%s %s", healthy.Status, body)
	}
	if _, err := secured.as(s.authority.Client(t, pkitest.Pair{})).kv.Range(ctx, &pb.RangeRequest{Key: bs("k")}); status.Code(err) != codes.Unavailable {
		t.Errorf("without a certificate: %v", err)
	}
	answer, err := http.Get("http://" + secured.addr + "/health")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, _ := io.ReadAll(answer.Body); answer.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "https://") {
		t.Errorf("without TLS: %s %s", answer.Status, body)
	}
	waitFor(t, func() bool {
		failed := uint64(0)
		for _, p := range r.server.openPorts() { // in the order in which they were served
			failed += p.untrusted.Load()
		}
		return failed >= 2
	})
}

// Goal: a certificate with a keyspace's URI reaches that keyspace and nothing else, whatever the
// call says, by unary calls and streams; one without chooses as anybody does.
func TestCertificateBindsToKeyspace(t *testing.T) {
	r, s, ctx := newRig(t, func(c *Config, _ *mvccOptions) { c.KeyspaceDomain = "d.example" }), newTLS(t), testContext(t)
	secured := s.secured(r, "")
	bound, free := secured.as(s.client(ofOther, "spiffe://x/y")), secured.as(s.client("spiffe://x/y"))
	for _, c := range []struct {
		keyspace string
		code     codes.Code
	}{{"", codes.OK}, {"other", codes.OK}, {DefaultKeyspace, codes.PermissionDenied}, {"none", codes.PermissionDenied}} {
		for _, mark := range []bool{false, true} {
			ctx := ctx
			if c.keyspace != "" {
				ctx = inKeyspace(ctx, c.keyspace)
			}
			if mark { // what members say among themselves frees nobody
				ctx = metadata.AppendToOutgoingContext(ctx, forwardedMetadata, "1")
			}
			_, err := bound.kv.Put(ctx, &pb.PutRequest{Key: bs("a")})
			if status.Code(err) != c.code || err != nil && !strings.Contains(err.Error(), `this certificate is for keyspace "other" alone`) {
				t.Errorf("unary, %q: %v", c.keyspace, err)
			}
			stream, err := pb.NewLeaseClient(bound.conn).LeaseKeepAlive(ctx)
			if err == nil {
				stream.CloseSend()
				if _, err = stream.Recv(); err == io.EOF {
					err = nil
				}
			}
			if status.Code(err) != c.code {
				t.Errorf("stream, %q: %v", c.keyspace, err)
			}
		}
	}
	for host, want := range map[string]codes.Code{"other.d.example": codes.OK, "default.d.example": codes.PermissionDenied, "elsewhere": codes.OK} {
		config := s.client(ofOther)
		config.InsecureSkipVerify = true // the server's certificate has other names
		named := secured.as(config, grpc.WithAuthority(host))
		if _, err := named.kv.Range(ctx, &pb.RangeRequest{Key: bs("a")}); status.Code(err) != want {
			t.Errorf("authority %s: %v", host, err)
		}
	}
	_, err := quoratev1.NewKeyspacesClient(bound.conn).List(ctx, &quoratev1.ListRequest{})
	if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "with a certificate without one") {
		t.Errorf("management: %v", err)
	}
	if _, err := pb.NewClusterClient(bound.conn).MemberRemove(ctx, &pb.MemberRemoveRequest{ID: 1}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("members: %v", err)
	}
	list, err := pb.NewClusterClient(bound.conn).MemberList(ctx, &pb.MemberListRequest{})
	if err != nil || list.Members[1].ClientURLs[0] != "http://c:2379" {
		t.Errorf("the list of members: %v, %v", list, err)
	}
	if got, err := free.kv.Range(ctx, &pb.RangeRequest{Key: bs("a")}); err != nil || got.Count != 0 {
		t.Errorf("a certificate without a keyspace: %v, %v", got, err)
	}
	if got, err := free.kv.Range(inKeyspace(ctx, "other"), &pb.RangeRequest{Key: bs("a")}); err != nil || got.Count != 1 {
		t.Errorf("a certificate without a keyspace, which names one: %v, %v", got, err)
	}
	if _, err := quoratev1.NewKeyspacesClient(free.conn).List(ctx, &quoratev1.ListRequest{}); err != nil {
		t.Errorf("management without a keyspace: %v", err)
	}
}

// Goal: a certificate that cannot be meant so is refused by every call, with a sentence.
func TestWrongCertificates(t *testing.T) {
	r, s, ctx := newRig(t), newTLS(t), testContext(t)
	secured, port := s.secured(r, ""), s.secured(r, "other")
	for _, c := range []struct {
		at   *rig
		uris []string
		says string
	}{
		{secured, []string{CertificateURI}, "names no keyspace: ask for one with quorate://keyspace/NAME"},
		{secured, []string{CertificateURI + "other/x"}, "names no keyspace"},
		{secured, []string{CertificateURI + "Other"}, "names no keyspace"},
		{secured, []string{CertificateURI + "other?x"}, "names no keyspace"},
		{secured, []string{CertificateURI + "%6fther"}, "names no keyspace"},
		{secured, []string{CertificateURI + "system"}, "names no keyspace"},
		{secured, []string{"quorate://node/a"}, "names no keyspace"},
		{secured, []string{"quorate:keyspace/other"}, "names no keyspace"},
		{secured, []string{ofOther, CertificateURI + "third"}, "has several URIs"},
		{secured, []string{ofOther, ofOther}, "has several URIs"},
		{port, []string{CertificateURI + "third"}, `for keyspace "third" alone, and this port for "other"`},
		{port, []string{ofOther}, ""},
		{port, nil, ""},
	} {
		config := s.client(c.uris...)
		client := c.at.as(config)
		_, err := client.kv.Range(ctx, &pb.RangeRequest{Key: bs("a")})
		if c.says == "" {
			if err != nil {
				t.Errorf("%q: %v", c.uris, err)
			}
			continue
		}
		if status.Code(err) != codes.PermissionDenied || !strings.Contains(status.Convert(err).Message(), c.says) {
			t.Errorf("%q: %v, want %q", c.uris, err, c.says)
		}
		if _, err := grpc_health_v1.NewHealthClient(client.conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{}); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%q: health: %v", c.uris, err)
		}
		stream, err := pb.NewWatchClient(client.conn).Watch(ctx)
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("%q: watch: %v", c.uris, err)
		}
		web := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
		answer, err := web.Get("https://" + c.at.addr + "/health")
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusForbidden {
			t.Errorf("%q: /health: %s", c.uris, answer.Status)
		}
	}
}

// Goal: a certificate that nobody has verified binds to nothing and frees from nothing.
func TestUnverifiedCertificateIsNone(t *testing.T) {
	s := newTLS(t)
	port := &binding{port: "p"}
	leaf := s.client(ofOther).Certificates[0].Leaf
	if got := byCertificate(port, tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}); got != port {
		t.Errorf("%+v", got)
	}
}

// Goal: a call of a client that is bound by its certificate is passed on in TLS, in its keyspace,
// to a member that wants a certificate; the mark of forwarded calls frees it from nothing there either.
func TestForwardedInTLS(t *testing.T) {
	s, ctx := newTLS(t), testContext(t)
	withTLS := func(c *Config, _ *mvccOptions) { c.MemberTLS = s.store.Client }
	back := newRig(t, withTLS)
	back.node.keyspaces[far] = newFakeKeyspace(t, far, mvccOptions{})
	front := newRig(t, withTLS)
	front.carry(Member{ID: farMember, ClientURLs: []string{"https://" + s.secured(back, "").addr}})
	bound := s.secured(front, "").as(s.client(CertificateURI + far))
	for _, ctx := range []context.Context{ctx, inKeyspace(ctx, far)} {
		if _, err := bound.kv.Put(ctx, &pb.PutRequest{Key: bs("a")}); err != nil {
			t.Fatal(err)
		}
	}
	watch, err := pb.NewWatchClient(bound.conn).Watch(ctx)
	if err == nil {
		err = watch.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: bs("a"), StartRevision: 1}}})
	}
	if err != nil {
		t.Fatal(err)
	}
	if created, err := watch.Recv(); err != nil || !created.Created {
		t.Fatalf("%v, %v", created, err)
	}
	for _, name := range []string{DefaultKeyspace, "other"} {
		marked := metadata.AppendToOutgoingContext(inKeyspace(ctx, name), forwardedMetadata, "1", KeyspaceMetadata, far)
		if _, err := bound.kv.Range(marked, &pb.RangeRequest{Key: bs("a")}); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s with a mark: %v", name, err)
		}
		// A second value is not taken for the first one further on.
		two := metadata.AppendToOutgoingContext(inKeyspace(ctx, far), KeyspaceMetadata, name)
		if _, err := bound.kv.Range(two, &pb.RangeRequest{Key: bs("a")}); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s as a second name: %v", name, err)
		}
	}
	if n := front.forwarded("ok"); n < 2 {
		t.Errorf("%v calls were passed on", n)
	}
}

// Goal: a member whose certificate is not trusted gets no call, and the client an error.
func TestForwardRefusesStrangers(t *testing.T) {
	s, stranger, ctx := newTLS(t), newTLS(t), testContext(t)
	back := newRig(t)
	back.node.keyspaces[far] = newFakeKeyspace(t, far, mvccOptions{})
	front := newRig(t, func(c *Config, _ *mvccOptions) { c.MemberTLS = s.store.Client })
	front.carry(Member{ID: farMember, ClientURLs: []string{"https://" + stranger.secured(back, "").addr}})
	_, err := front.kv.Put(inKeyspace(ctx, far), &pb.PutRequest{Key: bs("a")})
	wantStatus(t, "a stranger", err, errUnreachable(far))
	if n := back.server.metrics.rpc.method(pb.KV_Put_FullMethodName).started.Load(); n != 0 {
		t.Errorf("%d calls came through", n)
	}
}

// Goal: clients that connect to a port in TLS and stay silent, speak half a handshake, or finish it
// and say nothing more, keep nobody out and are gone in time (I6).
func TestTLSPortDespiteSilence(t *testing.T) {
	s := newTLS(t)
	r := newRig(t, func(c *Config, _ *mvccOptions) {
		c.Connections = ConnLimits{Silent: 8, Handshake: 500 * time.Millisecond}
	})
	secured := s.secured(r, "")
	for i := range 60 {
		c := dial(t, secured.addr)
		switch i % 4 {
		case 1:
			c.Write([]byte{0x16, 3, 1, 0x40, 0}) // a record that never comes
		case 2:
			c.Write([]byte("\x00\x01\x02\x03\x04\x05"))
		case 3:
			go func() {
				config := s.client()
				config.ServerName = "localhost"
				tls.Client(c, config).Handshake()
			}()
		}
	}
	if _, err := secured.as(s.client()).kv.Put(testContext(t), &pb.PutRequest{Key: bs("a")}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
		open := 0
		for _, p := range r.server.openPorts() {
			open += p.openCount()
		}
		return open <= 1
	})
}
