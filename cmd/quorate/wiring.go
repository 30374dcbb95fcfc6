package main

import (
	"context"
	"errors"
	"log/slog"
	"net"

	"github.com/quorate/quorate/internal/env"
)

// nodeDriver is the seam between the process and the node in it. Only this file knows
// the packages below; tests put a node of their own here.
type nodeDriver struct {
	// initialized reports whether the data directory has state, in which case
	// Config.Bootstrap does not count any more. It writes nothing.
	initialized func(disk env.FS, c *Config) (bool, error)
	// start starts the node and its server. It returns once both run; the node may then
	// still be looking for its cluster. The listeners are its own from here on, also
	// when it fails. When stop ends it gives up starting; it does not end a node that
	// was started.
	start func(stop context.Context, c *Config, l *listeners, log *slog.Logger) (runningNode, error)
}

// listeners are the open sockets of a Config, in the order of its URLs.
type listeners struct {
	client, peer []net.Listener
}

// runningNode is what `serve` needs of a node.
type runningNode interface {
	// Ready is closed when the node serves: it knows a leader and has caught up with it.
	Ready() <-chan struct{}
	// Failed delivers why the node ended by itself: a broken disk, or state that differs
	// from its peers'.
	Failed() <-chan error
	// Handover gives the leadership of every shard away. It does nothing on a follower,
	// and fails when nobody can take over.
	Handover(ctx context.Context) error
	// Drain answers the health checks with "not serving", refuses new requests, ends
	// streams, and waits for the requests that run.
	Drain(ctx context.Context) error
	// Close stops the node and leaves its disk in order.
	Close() error
}

// realNode is the nodeDriver of the real binary.
func realNode() nodeDriver {
	return nodeDriver{
		initialized: func(disk env.FS, c *Config) (bool, error) {
			return false, nil
		},
		start: func(_ context.Context, _ *Config, l *listeners, _ *slog.Logger) (runningNode, error) {
			l.close()
			return nil, errors.New("this build has no node yet")
		},
	}
}
