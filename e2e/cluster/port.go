package cluster

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// Ports are drawn below 32768, where Linux's ephemeral range starts.
const (
	portLow  = 12000
	portHigh = 32000
)

var ports struct {
	sync.Mutex
	taken map[int]bool
}

// FreePort returns a port of 127.0.0.1 that nobody listens on and that this
// process has not handed out before.
func FreePort(t testing.TB) int {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	if ports.taken == nil {
		ports.taken = make(map[int]bool)
	}
	for range 1000 {
		port := portLow + rand.IntN(portHigh-portLow)
		if ports.taken[port] {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		l.Close()
		ports.taken[port] = true
		return port
	}
	t.Fatalf("no free port in [%d, %d)", portLow, portHigh)
	return 0
}
