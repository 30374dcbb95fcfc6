package tls

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/e2e/cluster"
)

// fleet is three members in TLS that want a certificate of every client.
type fleet struct {
	*cluster.Cluster
	*authority
	t       *testing.T
	etcdctl string
	binary  cluster.Binary
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	cluster.NeedsQuorate(t)
	a := newAuthority(t)
	a.issue("server")
	a.issue("client")
	f := &fleet{t: t, authority: a, etcdctl: cluster.Etcdctl(t), binary: cluster.Quorate(t)}
	f.Cluster = cluster.Start(t, cluster.Options{Binary: f.binary, Members: 3, TLS: a.client("client"), Args: []string{
		"--cert-file=" + a.path("server.crt"), "--key-file=" + a.path("server.key"),
		"--client-cert-auth", "--trusted-ca-file=" + a.path("ca.crt"),
	}})
	return f
}

// urls are the members' client URLs, separated by commas.
func (f *fleet) urls() string {
	var urls []string
	for _, m := range f.Members {
		urls = append(urls, m.ClientURL())
	}
	return strings.Join(urls, ",")
}

// run runs a client with the certificate of a name, or none, and returns what it printed.
func (f *fleet) run(binary, name, endpoints string, args ...string) (string, error) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 30*time.Second)
	defer cancel()
	out, err := f.command(ctx, binary, name, endpoints, args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (f *fleet) command(ctx context.Context, binary, name, endpoints string, args ...string) *exec.Cmd {
	args = append(args, "--endpoints="+endpoints, "--cacert="+f.path("ca.crt"))
	if name != "" {
		args = append(args, "--cert="+f.path(name+".crt"), "--key="+f.path(name+".key"))
	}
	return exec.CommandContext(ctx, binary, args...)
}

// must is run that succeeds and prints something.
func (f *fleet) must(want, binary, name, endpoints string, args ...string) {
	f.t.Helper()
	if out, err := f.run(binary, name, endpoints, args...); err != nil || !strings.Contains(out, want) {
		f.t.Errorf("%v with %q at %s: %v: %s, want %q", args, name, endpoints, err, out, want)
	}
}

// mustNot is run that fails and says why.
func (f *fleet) mustNot(want, binary, name, endpoints string, args ...string) {
	f.t.Helper()
	if out, err := f.run(binary, name, endpoints, args...); err == nil || !strings.Contains(out, want) {
		f.t.Errorf("%v with %q at %s: %v: %s, want a failure with %q", args, name, endpoints, err, out, want)
	}
}

// Goal: etcdctl works in TLS with a certificate, and not at all without.
func TestEtcdctl(t *testing.T) {
	f := newFleet(t)
	f.must("OK", f.etcdctl, "client", f.urls(), "put", "k", "v")
	f.must("k\nv", f.etcdctl, "client", f.urls(), "get", "k")
	f.must("is healthy", f.etcdctl, "client", f.urls(), "endpoint", "health", "--cluster")
	f.mustNot("", f.etcdctl, "", f.urls(), "get", "k", "--command-timeout=2s")
	f.mustNot("", f.etcdctl, "client", "http://"+f.Members[0].ClientAddr, "get", "k", "--command-timeout=2s")

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	watch := f.command(ctx, f.etcdctl, "client", f.urls(), "watch", "k", "--rev=1")
	out, err := watch.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cluster.StartProcess(watch); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = watch.Process.Kill()
		_ = watch.Wait()
	}()
	seen := bufio.NewReader(out)
	for _, want := range []string{"PUT\n", "k\n", "v\n"} {
		if line, err := seen.ReadString('\n'); err != nil || line != want {
			t.Fatalf("the watch printed %q, %v; want %q", line, err, want)
		}
	}
}

// Goal: a certificate for a keyspace reaches it through every member, also those that pass its calls
// on, and reaches nothing else.
func TestKeyspaceByCertificate(t *testing.T) {
	f := newFleet(t)
	f.issue("team", "quorate://keyspace/team-a")
	f.issue("both", "quorate://keyspace/team-a", "quorate://keyspace/team-b")
	f.must("created team-a", f.binary.Path, "client", f.urls(), "keyspace", "create", "team-a", "--replicas", "1")
	f.must("OK", f.etcdctl, "client", f.urls(), "put", "k", "default's")
	for i, m := range f.Members {
		f.must("OK", f.etcdctl, "team", m.ClientURL(), "put", "k", fmt.Sprint("team's ", i))
		for _, at := range f.Members {
			f.must(fmt.Sprint("team's ", i), f.etcdctl, "team", at.ClientURL(), "get", "k")
		}
		f.must("default's", f.etcdctl, "client", m.ClientURL(), "get", "k")
		f.mustNot(`this certificate is for keyspace "team-a" alone`, f.binary.Path, "team", m.ClientURL(), "keyspace", "list")
		f.mustNot("has several URIs", f.etcdctl, "both", m.ClientURL(), "get", "k")
	}
	f.must("is healthy", f.etcdctl, "team", f.urls(), "endpoint", "health", "--cluster")
	f.mustNot("certificate", f.etcdctl, "team", f.urls(), "member", "remove", "1")
}

// Goal: a certificate that is renewed is served to new connections, and those that there are go on.
func TestRotation(t *testing.T) {
	f := newFleet(t)
	m := f.Members[0]
	before := f.served(m)
	watch := f.command(t.Context(), f.etcdctl, "client", m.ClientURL(), "watch", "k")
	out, err := watch.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cluster.StartProcess(watch); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = watch.Process.Kill()
		_ = watch.Wait()
	}()
	f.issue("server")
	if after := f.served(m); after == before {
		t.Errorf("the certificate is number %s as before", after)
	}
	seen := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n')
		seen <- line
		_, _ = io.Copy(io.Discard, out)
	}()
	for deadline := time.After(20 * time.Second); ; {
		f.must("OK", f.etcdctl, "client", f.urls(), "put", "k", "v") // the watch may still be on its way
		select {
		case line := <-seen:
			if line != "PUT\n" {
				t.Errorf("the watch printed %q", line)
			}
			return
		case <-deadline:
			t.Fatal("the watch saw nothing")
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// served is the number of the certificate that a member shows.
func (f *fleet) served(m *cluster.Member) string {
	f.t.Helper()
	conn, err := tls.Dial("tcp", m.ClientAddr, m.TLS)
	if err != nil {
		f.t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}
