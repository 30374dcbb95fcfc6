package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// How much of each member's log a failed test prints.
const (
	logTailLines = 25
	logLineBytes = 400
)

// Options describe a cluster to create.
type Options struct {
	Binary  Binary
	Members int      // 1, 3 or 5; 0 means 1
	Name    string   // prefix of member names; "" means the binary's name
	Args    []string // extra flags for every member
	// TLS is that of clients, where client URLs are to be https; nil: they are http.
	TLS *tls.Config
}

// Cluster is a set of members that form one store.
type Cluster struct {
	Members []*Member
}

// New lays out a cluster: directories, ports and flags, no process yet.
func New(t testing.TB, o Options) *Cluster {
	t.Helper()
	if o.Members == 0 {
		o.Members = 1
	}
	if o.Name == "" {
		o.Name = o.Binary.Name
	}
	dir := t.TempDir()
	c := &Cluster{}
	for i := range o.Members {
		name := fmt.Sprintf("%s%d", o.Name, i+1)
		c.Members = append(c.Members, &Member{
			Name:       name,
			ClientAddr: fmt.Sprintf("127.0.0.1:%d", FreePort(t)),
			PeerAddr:   fmt.Sprintf("127.0.0.1:%d", FreePort(t)),
			DataDir:    filepath.Join(dir, name),
			LogPath:    filepath.Join(dir, name+".log"),
			TLS:        o.TLS,
			bin:        o.Binary,
		})
	}
	for _, m := range c.Members {
		m.Args = slices.Concat(m.Flags(c.InitialCluster()), o.Args)
	}
	t.Cleanup(func() {
		c.Kill()
		if t.Failed() {
			c.logTails(t)
		}
	})
	return c
}

// Start creates a cluster, starts it and waits until every member is ready.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	c := New(t, o)
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.createKeyspace(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// Flags returns the flags that make m a member of initialCluster: etcd's, and for quorate
// the engine under test.
func (m *Member) Flags(initialCluster string) []string {
	flags := []string{
		"--name=" + m.Name,
		"--data-dir=" + m.DataDir,
		"--listen-client-urls=" + m.ClientURL(),
		"--advertise-client-urls=" + m.ClientURL(),
		"--listen-peer-urls=" + m.PeerURL(),
		"--initial-advertise-peer-urls=" + m.PeerURL(),
		"--initial-cluster=" + initialCluster,
		"--initial-cluster-state=new",
		"--initial-cluster-token=e2e",
		"--log-level=warn",
	}
	if m.bin.Name == "quorate" {
		flags = append(flags, "--engine="+Engine())
	}
	return flags
}

// InitialCluster is the value of --initial-cluster.
func (c *Cluster) InitialCluster() string {
	var parts []string
	for _, m := range c.Members {
		parts = append(parts, m.Name+"="+m.PeerURL())
	}
	return strings.Join(parts, ",")
}

// Endpoints lists the client addresses as host:port.
func (c *Cluster) Endpoints() []string {
	var eps []string
	for _, m := range c.Members {
		eps = append(eps, m.ClientAddr)
	}
	return eps
}

// Start starts every member that does not run and waits for all to be ready.
func (c *Cluster) Start(ctx context.Context) error {
	for _, m := range c.Members {
		if m.Exited() {
			if err := m.Start(); err != nil {
				return err
			}
		}
	}
	return c.WaitReady(ctx)
}

// WaitReady waits until every member answers /readyz.
func (c *Cluster) WaitReady(ctx context.Context) error {
	return c.each(func(m *Member) error { return m.WaitReady(ctx) })
}

// Stop ends every member with SIGTERM, all at the same time.
func (c *Cluster) Stop() error {
	return c.each((*Member).Stop)
}

// Kill ends every member with SIGKILL.
func (c *Cluster) Kill() {
	_ = c.each(func(m *Member) error { m.Kill(); return nil })
}

func (c *Cluster) each(f func(*Member) error) error {
	errs := make([]error, len(c.Members))
	var wg sync.WaitGroup
	for i, m := range c.Members {
		wg.Go(func() { errs[i] = f(m) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (c *Cluster) logTails(t testing.TB) {
	for _, m := range c.Members {
		if _, err := os.Stat(m.LogPath); err != nil {
			continue
		}
		lines := strings.Split(strings.TrimRight(m.Log(), "\n"), "\n")
		lines = panicAndTail(lines)
		for i, l := range lines {
			lines[i] = l[:min(len(l), logLineBytes)]
		}
		t.Logf("last lines of %s (%s):\n%s", m.Name, m.ClientAddr, strings.Join(lines, "\n"))
	}
}

// panicAndTail returns the lines from the last panic on, if there is one, and
// the last lines otherwise: never more than logTailLines.
func panicAndTail(lines []string) []string {
	for i := len(lines) - 1; i >= 0; i-- {
		if strings.HasPrefix(lines[i], "panic:") || strings.HasPrefix(lines[i], "fatal error:") {
			return lines[i:min(len(lines), i+logTailLines)]
		}
	}
	return lines[max(0, len(lines)-logTailLines):]
}

// Add lays out another member with flags of its own: it is no part of the initial cluster, and
// somebody else says how it finds the others.
func (c *Cluster) Add(t testing.TB, binary Binary, name, dir string, args ...string) *Member {
	t.Helper()
	m := &Member{
		Name: name, ClientAddr: fmt.Sprintf("127.0.0.1:%d", FreePort(t)), PeerAddr: fmt.Sprintf("127.0.0.1:%d", FreePort(t)),
		DataDir: dir, LogPath: dir + ".log", bin: binary,
	}
	m.Args = append([]string{
		"--name=" + name, "--data-dir=" + dir,
		"--listen-client-urls=" + m.ClientURL(), "--advertise-client-urls=" + m.ClientURL(),
		"--listen-peer-urls=" + m.PeerURL(), "--initial-advertise-peer-urls=" + m.PeerURL(),
		"--initial-cluster-token=e2e", "--log-level=warn",
	}, args...)
	c.Members = append(c.Members, m)
	return m
}
