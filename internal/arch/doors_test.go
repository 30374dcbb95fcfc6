package arch

import (
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// door is a way to the outside world that only env may open (E1 of internal/env).
// The program itself is outside: it owns terminal, log files and child processes. So are
// the examples and the client, parts of programs that cannot import env.
type door struct {
	pkg   string
	names []string // nil: all
	use   string
}

var doors = []door{
	{"time", []string{"Now", "Since", "Until"}, "env.Clock"},
	{"os", []string{"Open", "OpenFile", "Create", "CreateTemp", "ReadFile", "WriteFile", "Mkdir", "MkdirAll", "MkdirTemp",
		"Remove", "RemoveAll", "Rename", "ReadDir", "Stat", "Truncate"}, "env.FS"},
	{"net", []string{"Dial", "DialTimeout", "Listen", "ListenPacket", "Dialer", "ListenConfig"}, "env.Network"},
	{"syscall", []string{"Getrusage"}, "env.CPU"},
	{"crypto/rand", nil, "env's random source, handed in by the owner"},
}

// doorsAjar are known uses outside env. The list may only get shorter.
var doorsAjar = map[string]string{
	"internal/node/peers.go time.Now":           "limits the rate of log lines, nothing else; should take Config.Clock",
	"internal/server/lease.go crypto/rand.Read": "draws lease ids, which need not repeat in a simulated run; should come through env",
	"internal/sim/sim.go time.Now":              "measures the core time that a run took; no event depends on it",
	"internal/sim/sim.go time.Since":            "measures the core time that a run took; no event depends on it",
}

// TestDoors: clock, files, sockets and random numbers are env's.
func TestDoors(t *testing.T) {
	tr := load(t)
	found := make(map[string]bool)
	for _, f := range tr.production() {
		if f.pkg == "internal/env" || f.pkg == "client" || strings.HasPrefix(f.pkg, "cmd/") || strings.HasPrefix(f.pkg, "examples/") {
			continue
		}
		for _, d := range doors {
			f.uses(d.pkg, func(at ast.Node, name string) {
				if d.names != nil && !slices.Contains(d.names, name) {
					return
				}
				use := f.path + " " + d.pkg + "." + name
				found[use] = true
				if doorsAjar[use] == "" {
					t.Errorf("%s: %s.%s: simulator, encryption at rest and TLS come in by wrapping internal/env. Use %s",
						tr.at(f, at), d.pkg, name, d.use)
				}
			})
		}
	}
	for use := range doorsAjar {
		if !found[use] {
			t.Errorf("doorsAjar lists %s, which is gone: remove it", use)
		}
	}
}
