package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/quorate/quorate/internal/transport"
)

// probeTime is how long a node without state looks for peers that know it. Peers
// that start at the same time answer within it; without any, it goes on.
const probeTime = 3 * time.Second

// probePause is the time between two questions to a peer that does not answer.
const probePause = 50 * time.Millisecond

// refusalTime is how long a node that gives up goes on to refuse: a peer that has asked, or
// asks again meanwhile, hears why and gives up, too.
const refusalTime = 10 * probePause

// newIdentity is what this configuration makes of a node without state.
func (n *Node) newIdentity(ctx context.Context) (identity, error) {
	if n.cfg.Ticket == nil && n.cfg.JoinExisting {
		var err error
		if n.cfg.Ticket, err = n.askForTicket(ctx); err != nil {
			return identity{}, err
		}
	}
	if t := n.cfg.Ticket; t != nil {
		id := n.joinedIdentity(t)
		n.cfg.InitialCluster, n.cfg.Token = id.Members, id.Token
		return id, nil
	}
	id := n.describedIdentity()
	var err error
	id.Shards, err = n.cfg.found()
	return id, err
}

// describedIdentity is who this node is by its configuration alone.
func (n *Node) describedIdentity() identity {
	voters := n.cfg.nodes()
	self := n.cfg.self()
	id := identity{
		Format: foundedVersion, Cluster: clusterIDOf(voters), Node: nodeIDOf(self.PeerURLs, n.cfg.Token),
		Incarnation: 1, Disk: n.cfg.Seed, Name: n.cfg.Name, Token: n.cfg.Token,
		Members: n.cfg.InitialCluster,
	}
	slices.Sort(voters)
	id.Voters = voters
	return id
}

// adopt makes the directory's member this node, and refuses one of another member
// or cluster. As in etcd the initial cluster need not be said again: one that
// names this member alone says nothing.
func (n *Node) adopt(known *identity) error {
	if known.Joined {
		return n.adoptJoined(known)
	}
	if len(n.cfg.InitialCluster) == 1 && n.cfg.InitialCluster[0].Name == known.Name {
		n.cfg.InitialCluster, n.cfg.Token = known.Members, known.Token
	}
	want := n.describedIdentity()
	switch {
	case known.Name != want.Name:
		return fmt.Errorf("%s: %w: it is member %q, this one is %q: correct --name or --data-dir",
			n.cfg.DataDir, ErrForeign, known.Name, want.Name)
	case known.Token != want.Token:
		return fmt.Errorf("%s: %w: its cluster token is %q, this one's is %q: correct --initial-cluster-token or --data-dir",
			n.cfg.DataDir, ErrForeign, known.Token, want.Token)
	case known.Node != want.Node || known.Cluster != want.Cluster:
		return fmt.Errorf("%s: %w: it is member %v of cluster %x, --initial-cluster describes member %v of cluster %x: correct --initial-cluster or --data-dir",
			n.cfg.DataDir, ErrForeign, known.Node, known.Cluster, want.Node, want.Cluster)
	}
	if err := n.checkRecord(known); err != nil {
		return err
	}
	n.identity = *known
	return nil
}

// listen opens and serves the peer ports, and answers probes from then on.
func (n *Node) listen() error {
	id := &n.identity
	n.transport = transport.New(transport.Config{
		Identity: transport.Identity{
			Cluster: id.Cluster, Node: transport.NodeID(id.Node), Incarnation: transport.Incarnation(id.Incarnation),
			Disk: id.Disk, Name: id.Name, MinLevel: n.cfg.MinLevel, MaxLevel: n.cfg.MaxLevel,
			Terms: string(appendTerms(nil, id.Shards)),
		},
		Agree:   n.agree,
		Network: n.cfg.Network, Clock: n.cfg.Clock, Handler: peerHandler{n}, Logger: n.cfg.Logger, Seed: n.cfg.Seed,
		Limits: transport.Limits{
			FrameBytes:        max(16<<20, 2*n.cfg.CommandBytes),
			KeepaliveInterval: 2 * n.cfg.Heartbeat, IdleTimeout: n.cfg.Election,
		},
	})
	for _, addr := range n.cfg.ListenPeer {
		l, err := n.cfg.Network.Listen(n.ctx, addr)
		if err != nil {
			return listenError(addr, err)
		}
		n.listeners = append(n.listeners, l)
		n.start1(func() {
			if err := n.transport.Serve(l); err != nil && !errors.Is(err, transport.ErrClosed) && !errors.Is(err, net.ErrClosed) {
				n.fail(fmt.Errorf("serve peers on %s: %w", addr, err))
			}
		})
	}
	return nil
}

// listenError says what is wrong with a peer port, and what to do.
func listenError(addr string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("--listen-peer-urls %s: the port is in use: stop the other process or choose another port", addr)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("--listen-peer-urls %s: this machine has no such address: write one of its own, or 0.0.0.0 for all", addr)
	}
	return fmt.Errorf("--listen-peer-urls %s cannot be opened: %w", addr, err)
}

// bootstrap makes this node a member for as long as its disk lives, unless a
// peer knows that it was one before (N3).
func (n *Node) bootstrap(ctx context.Context) error {
	if n.identity.Joined { // the cluster has given it its place, and knows its disk
		return n.dir.writeIdentity(&n.identity)
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	others := 0
	answers := make(chan error, len(n.cfg.InitialCluster))
	for _, m := range n.cfg.InitialCluster {
		if m.Name == n.cfg.Name {
			continue
		}
		addr, err := peerAddress(m.PeerURLs[0])
		if err != nil {
			return err
		}
		others++
		go func() { answers <- n.probe(ctx, m.Name, addr) }()
	}
	for range others {
		select {
		case err := <-answers:
			if err != nil {
				return err
			}
		case err := <-n.disagreed:
			// A peer was refused that founds a cluster just now, too, and gives up: alone
			// this node would found one that the peer's next start does not fit. The refusal
			// itself may not have left yet.
			select {
			case <-time.After(refusalTime):
			case <-ctx.Done():
			}
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
	}
	if err := ctx.Err(); errors.Is(err, context.Canceled) {
		return fmt.Errorf("start was cancelled: %w", err)
	}
	return n.dir.writeIdentity(&n.identity)
}

// probe asks one peer until it answers or the time is up. Only knowledge of an
// earlier life of this node is an error, and other terms: founding a cluster with them
// would found two halves of one that never speak to each other.
func (n *Node) probe(ctx context.Context, name, addr string) error {
	for {
		reply, err := n.transport.Probe(ctx, addr)
		var refused *transport.RefusedError
		switch {
		case errors.As(err, &refused) && refused.Reason == transport.ReasonTerms:
			return fmt.Errorf("%w: member %q at %s does not agree: %w", ErrConfig, name, addr, refused)
		case err == nil && reply.Node.Cluster != n.identity.Cluster:
			return fmt.Errorf("%w: member %q at %s belongs to cluster %x, --initial-cluster and --initial-cluster-token make %x: correct them",
				ErrConfig, name, addr, reply.Node.Cluster, n.identity.Cluster)
		case err == nil && reply.Member:
			return fmt.Errorf("member %v %w: %s at %s knows it, but %s is empty: its disk was lost, so it must not vote under its old identity: restore the directory, or start it with --join and the client URL of another member to give it a new one",
				n.identity.Node, ErrBootstrapped, name, addr, n.cfg.DataDir)
		case err == nil:
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(probePause):
		}
	}
}
