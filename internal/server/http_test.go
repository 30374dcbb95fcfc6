package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/quorate/quorate/internal/router"
)

// get asks over the client port.
func (r *rig) get(path string) (int, string, http.Header) {
	r.t.Helper()
	return r.request(http.MethodGet, path)
}

func (r *rig) request(method, path string) (int, string, http.Header) {
	r.t.Helper()
	req, err := http.NewRequest(method, "http://"+r.addr+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(body), resp.Header
}

// The endpoints' bodies, byte by byte as etcd 3.7.3 writes them.
func TestHTTPEndpoints(t *testing.T) {
	r := newRig(t)
	for _, test := range []struct {
		path, want, contentType string
	}{
		{"/version", `{"etcdserver":"3.7.3","etcdcluster":"3.7.0","storage":"3.7.0"}`, "application/json"},
		{"/health", `{"health":"true","reason":""}`, "text/plain; charset=utf-8"},
		{"/health?serializable=true&exclude=NOSPACE", `{"health":"true","reason":""}`, "text/plain; charset=utf-8"},
		{"/livez", "ok\n", "text/plain; charset=utf-8"},
		{"/livez?verbose", "[+]serializable_read ok\nok\n", "text/plain; charset=utf-8"},
		{"/livez/serializable_read", "ok\n", "text/plain; charset=utf-8"},
		{"/readyz", "ok\n", "text/plain; charset=utf-8"},
		{"/readyz?verbose", "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\nok\n", "text/plain; charset=utf-8"},
		{"/readyz?verbose&exclude=linearizable_read&exclude=none&exclude=", "[+]data_corruption ok\n[+]serializable_read ok\n[+]non_learner ok\nok\n", "text/plain; charset=utf-8"},
		{"/readyz/linearizable_read?verbose", "[+]linearizable_read ok\nok\n", "text/plain; charset=utf-8"},
		{"/readyz/non_learner?exclude=non_learner&verbose", "[+]non_learner ok\nok\n", "text/plain; charset=utf-8"},
	} {
		code, body, header := r.get(test.path)
		if code != http.StatusOK || body != test.want || header.Get("Content-Type") != test.contentType {
			t.Errorf("%s: %d %q %s; want %q", test.path, code, body, header.Get("Content-Type"), test.want)
		}
		if header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Server") != "quorate/1.2.3-test" {
			t.Errorf("%s: headers %v", test.path, header)
		}
	}
	for _, path := range []string{"/", "/nothing", "/readyz/nothing", "/livez/linearizable_read", "/healthz", "/v3/kv/put"} {
		if code, _, _ := r.get(path); code != http.StatusNotFound {
			t.Errorf("%s: %d, want 404", path, code)
		}
	}
	for _, path := range []string{"/version", "/health", "/livez", "/readyz", "/readyz/non_learner"} {
		if code, body, header := r.request(http.MethodPost, path); code != http.StatusMethodNotAllowed ||
			body != "Method Not Allowed\n" || header.Get("Allow") != "GET" {
			t.Errorf("POST %s: %d %q %v", path, code, body, header)
		}
	}
}

// What an unhealthy node says, and that the checks tell causes apart.
func TestHTTPUnhealthy(t *testing.T) {
	r := newRig(t)
	expect := func(path, want string) {
		t.Helper()
		code, body, _ := r.get(path)
		wantCode := http.StatusServiceUnavailable
		if strings.HasSuffix(want, "ok\n") || strings.Contains(want, `"true"`) {
			wantCode = http.StatusOK
		}
		if code != wantCode || body != want {
			t.Errorf("%s: %d %q, want %d %q", path, code, body, wantCode, want)
		}
	}
	r.k.setStatus(func(s *KeyspaceStatus) { s.Leader = 0 })
	expect("/health", `{"health":"false","reason":"RAFT NO LEADER"}`+"\n")
	expect("/health?serializable=true", `{"health":"true","reason":""}`)
	expect("/livez", "ok\n")
	r.k.fail(router.ErrNoLeader)
	expect("/readyz", "[+]data_corruption ok\n[+]serializable_read ok\n[-]linearizable_read failed: etcdserver: no leader\n[+]non_learner ok\n\n")
	expect("/readyz?exclude=linearizable_read", "ok\n")
	expect("/readyz/linearizable_read", "[-]linearizable_read failed: etcdserver: no leader\n\n")
	r.k.setStatus(func(s *KeyspaceStatus) { s.Leader, s.Starting = fakeMember, true })
	expect("/readyz/linearizable_read", "[-]linearizable_read failed: this member has not announced itself yet\n\n")
	r.k.setStatus(func(s *KeyspaceStatus) { s.Starting = false })
	r.k.fail(errors.New("some trouble"))
	expect("/health", `{"health":"false","reason":"RANGE ERROR:some trouble"}`+"\n")
	r.k.fail(nil)
	r.k.setStatus(func(s *KeyspaceStatus) { s.Corrupt, s.IsLearner = true, true })
	expect("/health", `{"health":"false","reason":"ALARM CORRUPT"}`+"\n")
	expect("/health?exclude=CORRUPT", `{"health":"true","reason":""}`)
	expect("/readyz", "[-]data_corruption failed: alarm activated: CORRUPT\n[+]serializable_read ok\n[+]linearizable_read ok\n[-]non_learner failed: not supported for learner\n\n")
}

// A check that gets no answer fails in bounded time.
func TestHTTPCheckTimesOut(t *testing.T) {
	r := newRig(t, func(c *Config, _ *mvccOptions) { c.CheckTimeout = 50 * time.Millisecond })
	stall := make(chan struct{})
	r.k.stall.Store(&stall)
	defer close(stall)
	if code, body, _ := r.get("/readyz"); code != http.StatusServiceUnavailable ||
		!strings.Contains(body, "[-]linearizable_read failed: context deadline exceeded") {
		t.Errorf("%d %q", code, body)
	}
}

// The names that etcd's dashboards read, with values that move.
func TestMetricsEndpoint(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	if _, err := r.kv.Put(ctx, &pb.PutRequest{Key: bs("a"), Value: bs("1")}); err != nil {
		t.Fatal(err)
	}
	r.kv.Put(ctx, &pb.PutRequest{})
	w := r.watching(t, ctx)
	w.create(&pb.WatchCreateRequest{Key: bs("a")})
	w.recv()
	r.get("/health")
	code, body, _ := r.get("/metrics")
	if code != http.StatusOK {
		t.Fatal(code)
	}
	for _, want := range []string{
		`grpc_server_started_total{grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 2`,
		`grpc_server_handled_total{grpc_code="OK",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 1`,
		`grpc_server_handled_total{grpc_code="InvalidArgument",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 1`,
		`grpc_server_handled_total{grpc_code="OK",grpc_method="Compact",grpc_service="etcdserverpb.KV",grpc_type="unary"} 0`,
		`grpc_server_handling_seconds_count{grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 2`,
		`grpc_server_started_total{grpc_method="Watch",grpc_service="etcdserverpb.Watch",grpc_type="bidi_stream"} 1`,
		`grpc_server_handled_total{grpc_code="OK",grpc_method="Watch",grpc_service="etcdserverpb.Watch",grpc_type="bidi_stream"} 0`,
		`grpc_server_started_total{grpc_method="RangeStream",grpc_service="etcdserverpb.KV",grpc_type="server_stream"} 0`,
		`etcd_server_has_leader 1`, `etcd_server_is_leader 1`, `etcd_server_is_learner 0`, `etcd_server_leader_changes_seen_total 0`,
		`etcd_server_proposals_committed_total 1`, `etcd_server_proposals_applied_total 1`, `etcd_server_proposals_pending 0`,
		`etcd_server_proposals_failed_total 0`, `etcd_server_quota_backend_bytes 0`, `etcd_mvcc_db_total_size_in_bytes 1.048576e+06`,
		`etcd_mvcc_db_total_size_in_use_in_bytes 524288`, `etcd_server_version{server_version="3.7.3"} 1`,
		`etcd_cluster_version{cluster_version="3.7.0"} 1`, `etcd_server_id{server_id="a1"} 1`, `etcd_server_health_success 1`,
		`etcd_server_client_requests_total{client_api_version="unknown",type="unary"} 2`,
		`etcd_server_client_requests_total{client_api_version="unknown",type="stream"} 1`,
		`etcd_debugging_mvcc_watcher_total 1`, `etcd_debugging_mvcc_watch_stream_total 1`,
		`quorate_shard_engine{engine="paxos",keyspace="default",shard="2"} 1`,
		`quorate_shard_write_quorum{keyspace="default",shard="2"} 2`, `quorate_shard_election_quorum{keyspace="default",shard="2"} 4`,
		`quorate_shard_commit_index{keyspace="default",shard="2"} 1`, `quorate_build_info{`,
		`quorate_stage_seconds_bucket{stage="sync",le="2e-06"} 2`, `quorate_stage_seconds_bucket{stage="sync",le="8e-06"} 3`,
		`quorate_stage_seconds_bucket{stage="sync",le="+Inf"} 7`, `quorate_stage_seconds_sum{stage="sync"} 5e-05`, `process_cpu_seconds_total`, `go_goroutines`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
	for _, name := range []string{"etcd_network_client_grpc_received_bytes_total", "etcd_network_client_grpc_sent_bytes_total", "quorate_client_connections"} {
		if m := regexp.MustCompile(`(?m)^` + name + ` ([0-9.e+]+)$`).FindStringSubmatch(body); m == nil || m[1] == "0" {
			t.Errorf("%s = %v", name, m)
		}
	}
}

func TestHistogram(t *testing.T) {
	var h histogram
	for _, d := range []time.Duration{0, bucketBounds[0], bucketBounds[0] + 1, time.Hour} {
		h.observe(d)
	}
	if h.buckets[0].Load() != 2 || h.buckets[1].Load() != 1 || h.buckets[len(bucketBounds)].Load() != 1 {
		t.Errorf("buckets %v", &h.buckets)
	}
	for i := 1; i < len(bucketBounds); i++ {
		if bucketBounds[i] <= bucketBounds[i-1] {
			t.Errorf("bounds out of order at %d", i)
		}
	}
}

// rawRequest writes bytes and returns what comes back until the other side closes.
func rawRequest(t *testing.T, addr, request string) string {
	t.Helper()
	c := dial(t, addr)
	io.WriteString(c, request)
	reply, _ := io.ReadAll(c)
	return string(reply)
}

// Odd HTTP on the client port is answered or closed, and never reaches gRPC.
func TestOddHTTP(t *testing.T) {
	r := newRig(t, func(c *Config, _ *mvccOptions) { c.Connections.Handshake = 200 * time.Millisecond })
	for name, test := range map[string]struct{ request, want string }{
		"no HTTP":          {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "HTTP/1.1 400 "},
		"huge header":      {"GET / HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", "HTTP/1.1 431 "},
		"no host":          {"GET /livez HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "},
		"HTTP/1.0":         {"GET /livez HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK"},
		"half a request":   {"GET /livez HTTP/1.1\r\nHost: x\r\n", ""},
		"half a preface":   {preface[:20], ""},
		"preface, no more": {preface, ""},
		"path tricks":      {"GET //livez/../health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 404 "},
	} {
		reply := rawRequest(t, r.addr, test.request)
		if !strings.HasPrefix(reply, test.want) || (test.want == "" && strings.Contains(reply, "HTTP/1")) {
			t.Errorf("%s: %q, want %q", name, reply[:min(len(reply), 60)], test.want)
		}
	}
	if code, _, _ := r.get("/livez"); code != http.StatusOK {
		t.Errorf("livez after odd requests: %d", code)
	}
}

// Goal: clients that trickle bytes hurt nobody. Method: hold many half-open
// connections of every kind, then measure a put and a probe.
func TestSlowlorisHurtsNobody(t *testing.T) {
	r, ctx := newRig(t, func(c *Config, _ *mvccOptions) { c.Connections.Silent = 64 }), testContext(t)
	for i := range 300 {
		c := dial(t, r.addr)
		io.WriteString(c, []string{"", "PRI", "GET /hea", preface, "G"}[i%5])
	}
	start := time.Now()
	if _, err := r.kv.Put(ctx, &pb.PutRequest{Key: bs("a")}); err != nil {
		t.Fatal(err)
	}
	if code, _, _ := r.get("/readyz"); code != http.StatusOK {
		t.Fatal(code)
	}
	conn := r.dial()
	if _, err := pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: bs("b")}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
}

// One port serves both protocols; the HTTP endpoints also have one of their own.
func TestSeparateHTTPListener(t *testing.T) {
	r := newRig(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- r.server.ServeHTTP1(l) }()
	resp, err := http.Get(fmt.Sprintf("http://%s/livez", l.Addr()))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", resp, err)
	}
	resp.Body.Close()
	r.server.Stop(testContext(t))
	if err := <-served; err != nil {
		t.Errorf("ServeHTTP1: %v", err)
	}
	if err := r.server.Serve(l); err != nil {
		t.Errorf("Serve after Stop: %v", err)
	}
}

// Paths that this package does not know go to the configured handler.
func TestHTTPFallback(t *testing.T) {
	r := newRig(t, func(c *Config, _ *mvccOptions) {
		c.HTTP = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "console "+r.URL.Path) })
	})
	if code, body, _ := r.get("/console"); code != http.StatusOK || body != "console /console" {
		t.Errorf("%d %q", code, body)
	}
	if _, body, _ := r.get("/livez"); body != "ok\n" {
		t.Errorf("livez: %q", body)
	}
}

// A pipelined second request is served; keep-alive works through the sniffer.
func TestHTTPKeepAlive(t *testing.T) {
	r := newRig(t)
	c := dial(t, r.addr)
	request := "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
	io.WriteString(c, request+request)
	br := bufio.NewReader(c)
	for range 2 {
		resp, err := http.ReadResponse(br, nil)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%v, %v", resp, err)
		}
		io.Copy(io.Discard, resp.Body)
	}
}
