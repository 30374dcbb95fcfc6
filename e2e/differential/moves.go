package differential

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/e2e/cluster"
)

// mover keeps the replicas of the keyspace under test moving, while requests go on: of the members
// but the one that is asked, which keeps its replica and so the streams, two are always empty, and it takes turns
// who. Streams that move are another test's (package placement).
type mover struct {
	t       testing.TB
	members []*cluster.Member // without the one that is asked
	binary  string
	moves   int
	err     error
	ended   chan struct{}
	// turn is held during a move. Who holds it waits for something that moves put off: a new leader starts
	// the time of every lease anew, and a lease that is short would never end.
	turn sync.Mutex
}

// movePatience bounds one move, restarts of the servers included.
const movePatience = time.Minute

// startMover empties two members, so that all the others have a replica, and begins.
func startMover(ctx context.Context, t testing.TB, c *cluster.Cluster, asked int) (*mover, error) {
	m := &mover{t: t, binary: cluster.Quorate(t).Path, ended: make(chan struct{})}
	for i, member := range c.Members {
		if i != asked {
			m.members = append(m.members, member)
		}
	}
	if len(m.members) != 4 {
		return nil, fmt.Errorf("moves need 5 members, there are %d", len(m.members)+1)
	}
	for i := range 2 {
		if err := m.empty(ctx, i); err != nil {
			return nil, err
		}
	}
	go m.run(ctx)
	return m, nil
}

// run moves one replica after the other until ctx ends.
func (m *mover) run(ctx context.Context) {
	defer close(m.ended)
	for at := 0; ctx.Err() == nil; at++ {
		if m.err = m.move(ctx, at); m.err != nil {
			return
		}
		m.moves++
	}
}

// move lets one member have replicas again, and empties another.
func (m *mover) move(ctx context.Context, at int) error {
	m.turn.Lock()
	defer m.turn.Unlock()
	if err := m.do(ctx, at, "undrain"); err != nil {
		return err
	}
	return m.empty(ctx, at+2)
}

func (m *mover) empty(ctx context.Context, at int) error {
	if err := m.do(ctx, at, "drain"); err != nil {
		return err
	}
	return m.insist(ctx, func() error {
		out, err := m.quorate(ctx, "node", "list", "-o", "json")
		if err != nil {
			return err
		}
		var answer struct {
			Nodes []struct {
				Name     string `json:"name"`
				Replicas int    `json:"replicas"`
			} `json:"nodes"`
		}
		if err := json.Unmarshal([]byte(out), &answer); err != nil {
			return err
		}
		for _, n := range answer.Nodes {
			if n.Name == m.members[at%4].Name && n.Replicas > 0 {
				return fmt.Errorf("%s still has %d replicas", n.Name, n.Replicas)
			}
		}
		return nil
	})
}

func (m *mover) do(ctx context.Context, at int, what string) error {
	return m.insist(ctx, func() error {
		_, err := m.quorate(ctx, "node", what, m.members[at%4].Name)
		return err
	})
}

// insist tries until something works: the servers are restarted meanwhile.
func (m *mover) insist(ctx context.Context, try func() error) error {
	began := time.Now()
	for {
		err := try()
		if err == nil || ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > movePatience {
			return fmt.Errorf("after %v: %w", movePatience, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (m *mover) quorate(ctx context.Context, args ...string) (string, error) {
	var endpoints []string
	for _, member := range m.members {
		endpoints = append(endpoints, member.ClientAddr)
	}
	out, err := exec.CommandContext(ctx, m.binary, append(args, "--endpoints="+strings.Join(endpoints, ","))...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("quorate %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}
