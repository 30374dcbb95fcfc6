package env

import (
	"context"
	"net"
	"time"
)

// Network is the door to the network: all listeners and all dials go through it,
// so that TLS is one wrapper.
type Network interface {
	// Listen opens a listener; "host:0" picks a free port.
	Listen(ctx context.Context, addr string) (net.Listener, error)
	// Dial connects to addr; ctx bounds the attempt, not the connection.
	Dial(ctx context.Context, addr string) (net.Conn, error)
}

// keepAlive finds a dead peer host within Idle + Probes × Interval (45 s) when nothing is
// being sent; traffic in flight is watched by the protocols above.
const (
	keepAliveIdle     = 15 * time.Second
	keepAliveInterval = 5 * time.Second
	keepAliveProbes   = 6
)

// TCP returns the operating system's TCP stack.
func TCP() Network {
	keep := net.KeepAliveConfig{
		Enable:   true,
		Idle:     keepAliveIdle,
		Interval: keepAliveInterval,
		Count:    keepAliveProbes,
	}
	return &tcp{
		listen: net.ListenConfig{KeepAliveConfig: keep},
		dial:   net.Dialer{KeepAliveConfig: keep},
	}
}

type tcp struct {
	listen net.ListenConfig
	dial   net.Dialer
}

func (t *tcp) Listen(ctx context.Context, addr string) (net.Listener, error) {
	return t.listen.Listen(ctx, "tcp", addr)
}

func (t *tcp) Dial(ctx context.Context, addr string) (net.Conn, error) {
	return t.dial.DialContext(ctx, "tcp", addr)
}
