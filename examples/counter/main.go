package main

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/etcdraft"
	"github.com/quorate/quorate/consensus/paxos"
	"github.com/quorate/quorate/consensus/raft"
)

const (
	eventsMax = 1024 // that wait for the loop; whoever has another one waits, too
	linkMax   = 256  // messages that wait for one peer; further ones are dropped
)

var engines = map[string]consensus.Engine{"raft": raft.Engine, "etcdraft": etcdraft.Engine, "paxos": paxos.Engine}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "counter:", err)
		os.Exit(1)
	}
}

// run puts a replica together. It returns when a part of it has failed.
func run() error {
	id := flag.Uint64("id", 1, "this replica's `number` among -peers")
	peers := flag.String("peers", "1=127.0.0.1:7001", "all replicas as `id=address,...`: the same list on all, for ever")
	name := flag.String("engine", "raft", "raft, etcdraft or paxos: the same on all, for ever")
	folder := flag.String("dir", ".", "the `folder` of the log")
	web := flag.String("http", "", "the `address` for clients (default 127.0.0.1 and port 8000+id)")
	flag.Parse()
	addrs := map[consensus.ReplicaID]string{}
	for peer := range strings.SplitSeq(*peers, ",") {
		var n consensus.ReplicaID
		var addr string
		if _, err := fmt.Sscanf(peer, "%d=%s", &n, &addr); err != nil {
			return fmt.Errorf("-peers: %q: %w", peer, err)
		}
		addrs[n] = addr
	}
	c := &counter{
		id: consensus.ReplicaID(*id), events: make(chan func(), eventsMax),
		links: map[consensus.ReplicaID]chan consensus.Message{}, waiting: map[consensus.ProposalID]chan<- answer{},
	}
	engine, known := engines[*name]
	if !known || addrs[c.id] == "" {
		return fmt.Errorf("-engine %s, -id %d: no such engine, or no such replica among -peers", *name, *id)
	}
	if *web == "" {
		*web = fmt.Sprintf("127.0.0.1:%d", 8000+*id)
	}
	// The sockets come before the log: of two processes with one id, only one gets them.
	forPeers, err := net.Listen("tcp", addrs[c.id])
	if err != nil {
		return err
	}
	forClients, err := net.Listen("tcp", *web)
	if err != nil {
		return err
	}
	voters := slices.Sorted(maps.Keys(addrs))
	path := filepath.Join(*folder, fmt.Sprintf("counter-%d.log", c.id))
	if c.log, err = openLog(path, fmt.Sprintf("counter 1: replica %d of %d, %s", c.id, voters, *name)); err != nil {
		return fmt.Errorf("open log of replica %d: %w", c.id, err)
	}
	if c.machine, err = engine.New(config(c.id, voters, c.log)); err != nil {
		return fmt.Errorf("restore replica %d from %s: %w", c.id, path, err)
	}
	for peer, addr := range addrs {
		if peer != c.id {
			c.links[peer] = make(chan consensus.Message, linkMax)
			go transmit(addr, c.links[peer])
		}
	}
	failed := make(chan error, 3)
	go func() { failed <- c.receive(forPeers) }()
	go func() { failed <- http.Serve(forClients, c) }()
	go func() { failed <- c.loop() }()
	return <-failed
}

// config makes a new replica from an empty log, or restores one. Nothing counts as applied:
// all of it is learned again (X3).
func config(id consensus.ReplicaID, voters []consensus.ReplicaID, l *logFile) consensus.Config {
	c := consensus.Config{
		Group: 1, ID: id, Rand: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
		ElectionTicks: 10, HeartbeatTicks: 1,
		MessageBytes: messageBytes, InflightMessages: 64, InflightBytes: 8 * messageBytes,
		UncommittedBytes: 8 * messageBytes, ReadRounds: 1024,
		HardState: l.hard, Log: consensus.LogState{Decided: l.decided},
	}
	c.Log.Configuration.Voters = voters
	for _, e := range l.entries {
		c.Log.Entries = append(c.Log.Entries, e.Info())
	}
	return c
}
