package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	rpcstatus "google.golang.org/grpc/status"

	"github.com/quorate/quorate/api/quorate/v1"
)

// Goal: flag, variable and file mean the same ports; a flag may be repeated, and clients are
// told addresses that they can dial.
func TestKeyspacePorts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "q.yml")
	text := "advertise-client-urls: http://db1.example:2379\nlisten:\n- team-a=http://127.0.0.1:2479\n- b=http://0.0.0.0:2579\n- b=http://[::]:2679\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ environ, args string }{
		{"", "--listen team-a=http://127.0.0.1:2479,b=http://0.0.0.0:2579,b=http://[::]:2679"},
		{"", "--listen team-a=http://127.0.0.1:2479 -listen=b=http://0.0.0.0:2579 --listen b=http://[::]:2679"},
		{"QUORATE_LISTEN=team-a=http://127.0.0.1:2479,b=http://0.0.0.0:2579,b=http://[::]:2679", ""},
		{"", "--config-file " + file},
	} {
		args := append(strings.Fields(c.args), "--advertise-client-urls", "http://db1.example:2379")
		cfg, _, err := configureFrom(t, strings.Fields(c.environ), args...)
		if err != nil {
			t.Errorf("%v: %v", c, err)
			continue
		}
		want := []KeyspacePort{{"team-a", "http://127.0.0.1:2479"}, {"b", "http://0.0.0.0:2579"}, {"b", "http://[::]:2679"}}
		if diff := cmp.Diff(want, cfg.Node.KeyspacePorts); diff != "" {
			t.Errorf("%v: %s", c, diff)
		}
		told := map[string][]string{"team-a": {"http://127.0.0.1:2479"}, "b": {"http://db1.example:2579", "http://db1.example:2679"}}
		if diff := cmp.Diff(told, cfg.Node.advertiseKeyspaceURLs()); diff != "" {
			t.Errorf("%v: %s", c, diff)
		}
	}
}

// etcdClient is etcd's own client of one endpoint.
func etcdClient(t *testing.T, endpoint string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func keyspacesClient(t *testing.T, address string) quoratev1.KeyspacesClient {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return quoratev1.NewKeyspacesClient(conn)
}

// Goal: a real process serves a keyspace on a port of its own to etcd's client, from the
// moment at which the keyspace is there, and apart from the default one.
func TestProcessServesKeyspacePort(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	base, dir := freePorts(t), t.TempDir()
	url := func(i int) string { return fmt.Sprintf("http://127.0.0.1:%d", base+i) }
	cmd := exec.Command("real", "serve", "--name", "a", "--data-dir", filepath.Join(dir, "a"), "--supervised",
		"--listen-client-urls", url(0), "--advertise-client-urls", url(0), "--listen-peer-urls", url(1), "--initial-advertise-peer-urls", url(1),
		"--heartbeat-interval", "20", "--election-timeout", "200", "--log-outputs", filepath.Join(dir, "log"), "--listen", "team-a="+url(2))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		stdin.Close() // a supervised node stops with it
		if err := cmd.Wait(); err != nil {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Errorf("%v\n%s", err, log)
		}
	}()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != readyLine+"\n" {
		t.Fatalf("%q, %v", line, err)
	}
	team, plain := etcdClient(t, url(2)), etcdClient(t, url(0))
	if _, err := team.Put(ctx, "k", "v"); rpcstatus.Code(err) != codes.NotFound || !strings.Contains(err.Error(), `keyspace "team-a" not found`) {
		t.Fatalf("before the keyspace is there: %v", err)
	}
	if _, err := keyspacesClient(t, address(url(0))).Create(ctx, &quoratev1.CreateRequest{Name: "team-a"}); err != nil {
		t.Fatal(err)
	}
	watch := team.Watch(ctx, "k")
	lease, err := team.Grant(ctx, 30)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := team.Put(ctx, "k", "v", clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	if seen := <-watch; len(seen.Events) != 1 || string(seen.Events[0].Kv.Value) != "v" {
		t.Errorf("the watch saw %+v", seen)
	}
	if alive, err := team.KeepAliveOnce(ctx, lease.ID); err != nil || alive.TTL != 30 {
		t.Errorf("%+v, %v", alive, err)
	}
	if got, err := plain.Get(ctx, "k"); err != nil || got.Count != 0 {
		t.Errorf("the default keyspace: %+v, %v", got, err)
	}
	if err := team.Sync(ctx); err != nil || len(team.Endpoints()) != 1 || team.Endpoints()[0] != url(2) {
		t.Errorf("after a look at the member list the client goes to %v, %v", team.Endpoints(), err)
	}
	if got, err := team.Get(ctx, "k"); err != nil || got.Count != 1 {
		t.Errorf("the keyspace: %+v, %v", got, err)
	}
}
