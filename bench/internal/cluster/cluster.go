package cluster

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	memberCount = 3
	// readyTimeout bounds the start of a cluster or the return of a member.
	readyTimeout = 60 * time.Second
	// quietWindow and quietShare define "quiet": all members together used less
	// than this share of one core during the window. Three idle etcd members
	// use about 0.03.
	quietWindow = 200 * time.Millisecond
	quietShare  = 0.10
	// quietTimeout bounds the wait for quiet; work later than that is not charged.
	quietTimeout = 10 * time.Second
)

// System is a system under test: a name for the tables and a command line to
// which etcd's flags are appended (C1).
type System struct {
	Name    string
	Command []string
}

// Cluster is running members, three as a rule. Its methods are for one goroutine.
type Cluster struct {
	System  System
	Members []*Member
	dir     string
}

// Start runs a fresh cluster in a new directory under parentDir and waits until
// every member acknowledges a write.
func Start(ctx context.Context, sys System, parentDir string) (*Cluster, error) {
	return StartOf(ctx, sys, parentDir, memberCount)
}

// StartOf is Start with another number of members.
func StartOf(ctx context.Context, sys System, parentDir string, members int) (*Cluster, error) {
	dir, err := os.MkdirTemp(parentDir, sys.Name+"-")
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", sys.Name, err)
	}
	ports, err := freePorts(2 * members)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", sys.Name, err)
	}
	c := &Cluster{System: sys, dir: dir}
	var peers []string
	for i := range members {
		peers = append(peers, fmt.Sprintf("m%d=%s", i+1, loopbackURL(ports[2*i+1])))
	}
	for i := range members {
		name := fmt.Sprintf("m%d", i+1)
		clientURL, peerURL := loopbackURL(ports[2*i]), loopbackURL(ports[2*i+1])
		c.Members = append(c.Members, &Member{
			Name:      name,
			ClientURL: clientURL,
			args:      memberArgs(sys, name, dir, clientURL, peerURL, strings.Join(peers, ",")),
			logPath:   filepath.Join(dir, name+".log"),
		})
	}
	for _, m := range c.Members {
		if err := m.start(); err != nil {
			c.Close()
			return nil, err
		}
	}
	if err := c.AwaitReady(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Endpoints lists host:port of every member's client address.
func (c *Cluster) Endpoints() []string {
	endpoints := make([]string, 0, len(c.Members))
	for _, m := range c.Members {
		endpoints = append(endpoints, m.endpoint())
	}
	return endpoints
}

func (m *Member) endpoint() string { return strings.TrimPrefix(m.ClientURL, "http://") }

// Kill sends SIGKILL to a member and waits for its end.
func (c *Cluster) Kill(i int) { c.Members[i].kill() }

// Restart starts a killed member on its old data and waits until the whole
// cluster is ready.
func (c *Cluster) Restart(ctx context.Context, i int) error {
	if err := c.Members[i].start(); err != nil {
		return err
	}
	return c.AwaitReady(ctx)
}

// CPU is the CPU time of all members since their start.
func (c *Cluster) CPU() (time.Duration, error) {
	var sum time.Duration
	for _, m := range c.Members {
		if !m.running() {
			return 0, m.deathError()
		}
		used, err := m.usage.total(m.cmd.Process.Pid)
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// Memory is the memory of all members together.
func (c *Cluster) Memory() (Memory, error) {
	var sum Memory
	for _, m := range c.Members {
		mem, err := memoryOf(m.cmd.Process.Pid)
		if err != nil {
			return Memory{}, err
		}
		sum.ResidentBytes += mem.ResidentBytes
		sum.AnonymousBytes += mem.AnonymousBytes
	}
	return sum, nil
}

// AwaitQuiet returns when the members have stopped working on what is left of
// earlier load, or after quietTimeout.
func (c *Cluster) AwaitQuiet(ctx context.Context) error {
	last, err := c.CPU()
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(quietTimeout); time.Now().Before(deadline); {
		if err := sleep(ctx, quietWindow); err != nil {
			return err
		}
		now, err := c.CPU()
		if err != nil {
			return err
		}
		if float64(now-last) < quietShare*float64(quietWindow) {
			return nil
		}
		last = now
	}
	return nil
}

// Close kills every member and removes the data.
func (c *Cluster) Close() {
	for _, m := range c.Members {
		m.kill()
	}
	if err := os.RemoveAll(c.dir); err != nil {
		fmt.Fprintf(os.Stderr, "bench: remove data of %s: %v\n", c.System.Name, err)
	}
}

func (m *Member) deathError() error {
	return fmt.Errorf("%s ended by itself (%s); end of its log:\n%s",
		m.Name, strings.Join(m.args, " "), m.logTail())
}

func loopbackURL(port int) string { return fmt.Sprintf("http://127.0.0.1:%d", port) }

// freePorts asks the kernel for n distinct unused ports: all listeners are open
// at once, then all are closed.
func freePorts(n int) ([]int, error) {
	ports := make([]int, 0, n)
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer listener.Close()
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
