package client_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/api/quorate/v1"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/internal/pki/pkitest"
)

// serveTLS starts a node in TLS that wants certificates, and returns its endpoint.
func serveTLS(t *testing.T, authority *pkitest.Authority) string {
	t.Helper()
	dir := t.TempDir()
	certFile, keyFile := authority.Sign(t, nil).Write(t, dir, "server")
	port := 12000 + rand.IntN(20000)
	endpoint, peer := fmt.Sprintf("https://127.0.0.1:%d", port), fmt.Sprintf("http://127.0.0.1:%d", port+1)
	node := exec.Command(program, "serve", "--supervised", "--data-dir", filepath.Join(dir, "data"), "--log-outputs", filepath.Join(dir, "log"),
		"--listen-client-urls", endpoint, "--advertise-client-urls", endpoint, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
		"--cert-file", certFile, "--key-file", keyFile, "--client-cert-auth", "--trusted-ca-file", pkitest.Write(t, dir, "ca.crt", authority.PEM))
	in, err := node.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close() // a supervised node ends with it
		if err := node.Wait(); err != nil {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Errorf("%v\n%s", err, log)
		}
	})
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(endpoint, "https://"))
		if err == nil {
			conn.Close()
			return endpoint
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// In TLS a client works as without; one with a keyspace's certificate works in that keyspace alone.
func TestTLS(t *testing.T) {
	ctx, authority := testContext(t), pkitest.NewAuthority(t)
	endpoint := serveTLS(t, authority)
	in := func(keyspace string, uris ...string) *client.Client {
		t.Helper()
		c, err := client.New(clientv3.Config{
			Endpoints: []string{endpoint}, TLS: authority.Client(t, authority.Sign(t, nil, uris...)),
		}, keyspace)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	free := in("team-a")
	for { // the node may still be starting
		_, err := free.Keyspaces().Create(ctx, &quoratev1.CreateRequest{Name: "team-a"})
		if err == nil || status.Code(err) == codes.AlreadyExists {
			break
		}
		if status.Code(err) != codes.Unavailable || ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	bound := in("team-a", "quorate://keyspace/team-a")
	watch := bound.Watch(ctx, "k", clientv3.WithCreatedNotify())
	<-watch
	for _, c := range []*client.Client{free, bound} {
		if _, err := c.Put(ctx, "k", "v"); err != nil {
			t.Fatal(err)
		}
		if seen := <-watch; len(seen.Events) != 1 {
			t.Errorf("the watch saw %v (%v)", seen.Events, seen.Err())
		}
	}
	if err := bound.Sync(ctx); err != nil || bound.Endpoints()[0] != endpoint {
		t.Errorf("after Sync the endpoints are %v, %v", bound.Endpoints(), err)
	}
	for what, err := range map[string]error{
		"another keyspace": func() error {
			_, err := in("", "quorate://keyspace/team-a").Get(ctx, "k")
			return err
		}(),
		"management": func() error {
			_, err := bound.Keyspaces().List(ctx, &quoratev1.ListRequest{})
			return err
		}(),
	} {
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: %v, want PermissionDenied", what, err)
		}
	}
}
