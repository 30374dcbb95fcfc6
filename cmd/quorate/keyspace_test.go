package main

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	rpcstatus "google.golang.org/grpc/status"

	"github.com/quorate/quorate/api/quorate/v1"
)

// fakeKeyspaces is a cluster with one node at a time of its life.
type fakeKeyspaces struct {
	quoratev1.UnimplementedKeyspacesServer
	mu   sync.Mutex
	list []*quoratev1.Keyspace
	fail error // of every call
	// hang, if set, keeps every call until it is closed.
	hang chan struct{}
}

func (f *fakeKeyspaces) disturbed(ctx context.Context) error {
	if f.hang != nil {
		select {
		case <-f.hang:
		case <-ctx.Done():
		}
	}
	return f.fail
}

// find returns the keyspace of a name, to be changed under the lock.
func (f *fakeKeyspaces) find(name string) (*quoratev1.Keyspace, error) {
	for _, k := range f.list {
		if k.Name == name {
			return k, nil
		}
	}
	return nil, rpcstatus.Errorf(codes.NotFound, "keyspace not found: %q: 'quorate keyspace list' names those that there are", name)
}

func (f *fakeKeyspaces) Create(ctx context.Context, r *quoratev1.CreateRequest) (*quoratev1.CreateResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.disturbed(ctx); err != nil {
		return nil, err
	}
	if _, err := f.find(r.Name); err == nil {
		return nil, rpcstatus.Errorf(codes.AlreadyExists, "keyspace exists: %q: choose another name", r.Name)
	}
	k := &quoratev1.Keyspace{
		Name: r.Name, State: quoratev1.Keyspace_ACTIVE, Engine: "raft", Replicas: 3, QuotaBytes: 2 << 30, Epoch: 1, CreatedUnixSeconds: 1_700_000_000,
		Shards: []*quoratev1.Shard{{Id: 16 + uint64(len(f.list)), Engine: "raft", Leader: 0x8e9e05c52164694d, Replicas: []*quoratev1.Replica{
			{Node: 0x8e9e05c52164694d, NodeName: "n1", Leads: true}, {Node: 2, NodeName: "n2"}, {Node: 0xab}}}},
	}
	if r.Engine != "" {
		k.Engine, k.Shards[0].Engine = r.Engine, r.Engine
	}
	if r.Replicas != 0 {
		k.Replicas = r.Replicas
	}
	if r.QuotaBytes != 0 {
		k.QuotaBytes = r.QuotaBytes
	}
	k.Limits = r.Limits
	f.list = append(f.list, k)
	return &quoratev1.CreateResponse{Keyspace: k}, nil
}

func (f *fakeKeyspaces) List(ctx context.Context, r *quoratev1.ListRequest) (*quoratev1.ListResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.disturbed(ctx); err != nil && !r.Serializable {
		return nil, err
	}
	resp := &quoratev1.ListResponse{}
	for _, k := range f.list {
		if k.State == quoratev1.Keyspace_ACTIVE || r.IncludeDeleted {
			resp.Keyspaces = append(resp.Keyspaces, k)
		}
	}
	return resp, nil
}

func (f *fakeKeyspaces) Describe(_ context.Context, r *quoratev1.DescribeRequest) (*quoratev1.DescribeResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k, err := f.find(r.Name)
	return &quoratev1.DescribeResponse{Keyspace: k}, err
}

func (f *fakeKeyspaces) Update(_ context.Context, r *quoratev1.UpdateRequest) (*quoratev1.UpdateResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k, err := f.find(r.Name)
	if err != nil {
		return nil, err
	}
	if r.QuotaBytes != nil {
		k.QuotaBytes = r.GetQuotaBytes()
	}
	if r.Replicas != nil {
		k.Replicas = r.GetReplicas()
	}
	if r.Limits != nil {
		k.Limits = r.Limits
	}
	k.Epoch++
	return &quoratev1.UpdateResponse{Keyspace: k}, nil
}

func (f *fakeKeyspaces) Delete(_ context.Context, r *quoratev1.DeleteRequest) (*quoratev1.DeleteResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k, err := f.find(r.Name)
	if err != nil {
		return nil, err
	}
	k.State, k.DeletedUnixSeconds, k.ExpiresUnixSeconds = quoratev1.Keyspace_DELETED, 1_700_000_100, 1_700_086_500
	return &quoratev1.DeleteResponse{Keyspace: k}, nil
}

func (f *fakeKeyspaces) Undelete(_ context.Context, r *quoratev1.UndeleteRequest) (*quoratev1.UndeleteResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k, err := f.find(r.Name)
	if err != nil {
		return nil, err
	}
	k.State, k.DeletedUnixSeconds, k.ExpiresUnixSeconds = quoratev1.Keyspace_ACTIVE, 0, 0
	return &quoratev1.UndeleteResponse{Keyspace: k}, nil
}

// serveKeyspaces serves a fake until stop, and returns where. A nil fake is a server without
// the service.
func serveKeyspaces(f *fakeKeyspaces) (address string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	s := grpc.NewServer()
	if f != nil {
		quoratev1.RegisterKeyspacesServer(s, f)
		nodes := newFakeNodes(f)
		quoratev1.RegisterNodesServer(s, nodes)
		quoratev1.RegisterPlacementServer(s, &fakePlacement{nodes: nodes})
	}
	go s.Serve(l) // ends with Stop, and its error says nothing
	return l.Addr().String(), s.Stop, nil
}

// catalog NAME [broken|etcd] serves a fake cluster for the rest of the script, at $NAME.
func catalog(ts *testscript.TestScript, _ bool, args []string) {
	f := &fakeKeyspaces{}
	switch {
	case len(args) == 2 && args[1] == "broken":
		f.fail = rpcstatus.Error(codes.Unavailable, "etcdserver: no leader")
	case len(args) == 2:
		f = nil
	}
	address, stop, err := serveKeyspaces(f)
	ts.Check(err)
	ts.Defer(stop)
	ts.Setenv(args[0], address)
}

func startKeyspaces(t *testing.T, f *fakeKeyspaces) string {
	t.Helper()
	address, stop, err := serveKeyspaces(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return address
}

// silentAddress takes connections and says nothing, as a process that hangs does.
func silentAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// Goal: a node that hangs costs a share of the time, not all of it.
func TestSilentNodeIsPassedOver(t *testing.T) {
	silent, alive := silentAddress(t), startKeyspaces(t, &fakeKeyspaces{})
	p, stdout, stderr := newTestProcess("keyspace", "create", "a", "--endpoints", silent+","+alive, "--timeout", "2s")
	if code := p.run(t.Context()); code != exitOK {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	if want := "quorate: " + silent + ": no connection within 1s: asking " + alive; !strings.Contains(stderr.String(), want) {
		t.Errorf("%q lacks %q", stderr, want)
	}
	if want := "created a: engine raft, quota 2 GiB, on n1*,n2,ab\n"; stdout.String() != want {
		t.Errorf("%q, want %q", stdout, want)
	}
}

// Goal: when nobody answers in time, the sentence says that a change may have been made.
func TestNoAnswerInTime(t *testing.T) {
	f := &fakeKeyspaces{hang: make(chan struct{})}
	t.Cleanup(func() { close(f.hang) })
	p, _, stderr := newTestProcess("keyspace", "create", "a", "--endpoints", startKeyspaces(t, f), "--timeout", "50ms")
	if code := p.run(t.Context()); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	checkSentence(t, "create", strings.TrimSpace(stderr.String()), "within 50ms: a longer --timeout may help; what was asked may have been done all the same")
}

// Goal: Ctrl-C ends a command that waits for a node.
func TestInterruptEndsCommand(t *testing.T) {
	f := &fakeKeyspaces{hang: make(chan struct{})}
	t.Cleanup(func() { close(f.hang) })
	p, _, stderr := newTestProcess("keyspace", "list", "--endpoints", startKeyspaces(t, f), "--timeout", "1h")
	signals := make(chan os.Signal, 1)
	signals <- syscall.SIGINT
	p.signals = signals
	if code := p.run(t.Context()); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	checkSentence(t, "list", strings.TrimSpace(stderr.String()), "gave up: received signal interrupt")
	if strings.Contains(stderr.String(), "may have been done") {
		t.Errorf("%q: a list does nothing", stderr)
	}
}

// Goal: who asked a node that went silent hears that it may have done what the next one
// refuses.
func TestDoubtIsNamed(t *testing.T) {
	broken := startKeyspaces(t, &fakeKeyspaces{fail: rpcstatus.Error(codes.Unavailable, "etcdserver: request timed out")})
	alive := startKeyspaces(t, &fakeKeyspaces{list: []*quoratev1.Keyspace{{Name: "a"}}})
	p, _, stderr := newTestProcess("keyspace", "create", "a", "--endpoints", broken+","+alive)
	if code := p.run(t.Context()); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{
		"quorate: " + broken + ": etcdserver: request timed out: asking " + alive + "\n",
		`quorate: keyspace exists: "a": choose another name (` + broken + " was asked before, and may have done it)\n",
	} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("%q lacks %q", stderr, want)
		}
	}
}

// Goal: the flag wins over etcdctl's variable, which wins over the default.
func TestEndpointsPrecedence(t *testing.T) {
	for _, c := range []struct {
		environ []string
		args    string
		want    string
	}{
		{nil, "", "http://127.0.0.1:2379"},
		{[]string{"ETCDCTL_ENDPOINTS=http://10.0.0.1:2379, localhost:1,"}, "", "http://10.0.0.1:2379 http://localhost:1"},
		{[]string{"ETCDCTL_ENDPOINTS=10.0.0.1:2379"}, "--endpoints [::1]:2379,DB.example:1", "http://[::1]:2379 http://db.example:1"},
		{nil, "--endpoints a:1,http://b:1,https://c:1", "http://a:1 http://b:1 https://c:1"},
		{nil, "--insecure-skip-tls-verify --endpoints a:1,http://b:1", "https://a:1 http://b:1"},
		{[]string{"ETCDCTL_INSECURE_SKIP_TLS_VERIFY=true"}, "--endpoints a:1", "https://a:1"},
		{[]string{"ETCDCTL_INSECURE_SKIP_TLS_VERIFY=true"}, "--endpoints a:1 --insecure-skip-tls-verify=false", "http://a:1"},
	} {
		p, _, _ := newTestProcess()
		p.environ = c.environ
		cmd := newKeyspaceList(p)
		if err := cmd.ParseFlags(strings.Fields(c.args)); err != nil {
			t.Fatal(err)
		}
		value := func(flag string) *flagValue { return cmd.Flags().Lookup(flag).Value.(*flagValue) }
		f := &clientFlags{endpoints: value(flagEndpoints), timeout: value(flagTimeout), tls: make(map[string]*flagValue)}
		for _, spec := range clientTLSFlags {
			f.tls[spec.name] = value(spec.name)
		}
		client, err := f.client(p, cmd)
		if err != nil || strings.Join(client.endpoints, " ") != c.want {
			t.Errorf("%v %s: %v, %v", c.environ, c.args, client, err)
		}
	}
}

// Goal: input that is not a terminal is not asked.
func TestConfirmNeedsTerminal(t *testing.T) {
	p, _, stderr := newTestProcess("keyspace", "delete", "a")
	p.stdin = iotest.ErrReader(errors.New("read"))
	if code := p.run(t.Context()); code != exitUsage {
		t.Errorf("exit code %d", code)
	}
	checkSentence(t, "delete", strings.TrimSpace(stderr.String()), "add --yes")
}

func TestBytesText(t *testing.T) {
	for bytes, want := range map[int64]string{
		-1: "none", 0: "0 B", 1: "1 B", 1 << 20: "1 MiB", 1<<20 + 1: "1048577 B", 2 << 30: "2 GiB", 1536 << 20: "1536 MiB",
		1 << 40: "1 TiB", 1 << 60: "1048576 TiB",
	} {
		if got := bytesText(bytes); got != want {
			t.Errorf("%d: %q, want %q", bytes, got, want)
		}
	}
}

// Goal: how long a connection may take leaves time for the nodes that come after.
func TestConnectTimeout(t *testing.T) {
	c := &client{endpoints: []string{"a:1", "b:1", "c:1"}, timeout: 3 * time.Second}
	if got := c.connectTimeout(false); got != time.Second {
		t.Error(got)
	}
	if got := c.connectTimeout(true); got != c.timeout {
		t.Error(got)
	}
	c.timeout = time.Hour
	if got := c.connectTimeout(false); got != connectTimeout {
		t.Error(got)
	}
}
