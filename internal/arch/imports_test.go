package arch

import (
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// rule says what a package may import of this module, and why no more.
type rule struct {
	may []string
	why string
}

// directions lists every package of the module. Imports only go down this list's order
// of ideas: program, server, node, router, shard, then what a shard is made of.
// consensus/mutant is allowed below everything: it is a constant false in a release.
var directions = map[string]rule{
	"consensus":               {nil, "the contract holds types only, so that an engine can be used without Quorate"},
	"consensus/mutant":        {nil, "it is imported by pure packages and must stay a leaf"},
	"consensus/quorum":        {[]string{"consensus"}, "quorum arithmetic has no protocol in it"},
	"consensus/internal/ring": {nil, "a container knows nothing of what is in it"},
	"consensus/internal/lease": {[]string{"consensus", "consensus/internal/ring"},
		"what a lease allows is the same in every engine, whatever its rounds are"},
	"consensus/raft": {[]string{"consensus", "consensus/internal/lease", "consensus/internal/ring", "consensus/quorum"},
		"an engine knows the contract and nothing that drives it"},
	"consensus/paxos": {[]string{"consensus", "consensus/internal/lease", "consensus/internal/ring", "consensus/quorum"},
		"an engine knows the contract and nothing that drives it"},
	"consensus/consensustest": {[]string{"consensus"},
		"the conformance suite knows an engine by its contract only, so that it can test one that is not ours"},
	"consensus/scenarios": {nil, "it has only tests, which compare engines and make pictures of that"},
	"consensus/etcdraft": {[]string{"consensus", "consensus/internal/lease"},
		"an adapter knows the contract and the library that it adapts; raft's own arithmetic is the library's"},

	"ring":                  {nil, "consistent hashing knows nodes and shards by their numbers only, so that it can be used without Quorate"},
	"ring/internal/contest": {[]string{"ring"}, "it measures ring as anybody would use it"},

	"api/quorate/v1": {nil, "generated messages are what clients of any language share, and know nothing of a server"},
	"client":         {[]string{"api/quorate/v1"}, "a client is part of somebody else's program, and knows the cluster by its API only"},

	"internal/env":    {nil, "the doors to the outside know nobody who walks through them"},
	"internal/engine": {[]string{"internal/env"}, "the byte store knows no shard, revision or entry"},
	"internal/mvcc":   {[]string{"internal/engine"}, "revisions know neither commands nor consensus"},
	"internal/store": {[]string{"internal/engine", "internal/mvcc"},
		"the state machine is a function of entries; how they were agreed on is none of its business"},
	"internal/wal": {[]string{"consensus", "internal/env"}, "the log stores entries and does not look into commands"},
	"internal/transport": {[]string{"consensus", "internal/env"},
		"peer messages carry commands as bytes; only shard sees both consensus and store"},

	"internal/shard": {[]string{"consensus", "internal/store", "internal/wal"},
		"a shard is where machine, log and store meet; files, sockets and goroutines are the node's"},
	"internal/router": {[]string{"consensus", "internal/shard", "internal/store"},
		"a router finds leaders; what it needs of a network it declares itself"},
	"internal/placement": {[]string{"ring"}, "the catalog is records and rules; how they are replicated and carried out is the node's"},
	"internal/limit":     {[]string{"internal/placement"}, "a limit is arithmetic; who asks, and what the answer looks like, is the server's"},
	"internal/node": {[]string{"consensus", "consensus/quorum", "internal/engine", "internal/env", "internal/limit", "internal/mvcc", "internal/placement", "internal/router",
		"internal/shard", "internal/store", "internal/transport", "internal/wal", "ring"},
		"one running node wires the stepped objects to clock, disk and network, but knows no client protocol"},
	"internal/server": {[]string{"api/quorate/v1", "internal/env", "internal/limit", "internal/mvcc", "internal/placement", "internal/router", "internal/store"},
		"the face to clients declares what it needs of a node; it must not reach for consensus or the log"},
	"internal/pki":         {[]string{"internal/env"}, "files become TLS; what a certificate means to whom is not its business"},
	"internal/pki/pkitest": {[]string{"internal/env"}, "it makes certificates for tests"},
	"internal/sim": {[]string{"consensus", "consensus/etcdraft", "consensus/paxos", "consensus/raft", "internal/engine", "internal/env", "internal/mvcc", "internal/placement",
		"internal/router", "internal/shard", "internal/store", "internal/transport", "internal/wal"},
		"the simulator runs the production objects in place of node, and chooses engines as cmd does"},

	"cmd/quorate": {[]string{"api/quorate/v1", "consensus", "consensus/etcdraft", "consensus/paxos", "consensus/raft", "internal/env", "internal/node",
		"internal/pki", "internal/placement", "internal/server", "internal/sim"},
		"the program wires; of what we serve it is the only place beside sim where engines are registered by name"},
	"examples/counter": {[]string{"consensus", "consensus/etcdraft", "consensus/paxos", "consensus/raft"},
		"an example shows what a program of somebody else's can do, and that one sees no internal package"},
	"internal/document": {nil, "what makes tables and pictures knows nothing of what is in them"},
	"internal/arch":     {nil, "it has only tests"},
}

// TestImportDirections: every import within the module is in the table.
func TestImportDirections(t *testing.T) {
	tr := load(t)
	seen := make(map[string]bool)
	for _, f := range tr.production() {
		seen[f.pkg] = true
		r, ok := directions[f.pkg]
		if !ok {
			t.Errorf("%s: package %s has no rule: add it to directions in internal/arch with a reason, and to the code map in ARCHITECTURE.md",
				f.path, f.pkg)
			continue
		}
		f.imports(func(spec *ast.ImportSpec, target string) {
			target, own := strings.CutPrefix(target, module)
			if !own || target == "consensus/mutant" && f.pkg != "consensus" || slices.Contains(r.may, target) {
				return
			}
			t.Errorf("%s: %s must not import %s: %s. Declare an interface where it is used, or move the code to the package that may",
				tr.at(f, spec), f.pkg, target, r.why)
		})
	}
	for pkg := range directions {
		if !seen[pkg] {
			t.Errorf("directions has a rule for %s, which does not exist: remove it", pkg)
		}
	}
}

// exclusive says who alone may use a package from outside, its subpackages included.
type exclusive struct {
	outside string
	except  string // a subpackage that is not meant; "" none
	users   []string
	why     string
}

var exclusives = []exclusive{
	{"google.golang.org/protobuf", "", []string{"api/quorate/v1", "internal/server"},
		"protobuf stops at the server: below it there are only the store's own types"},
	{"google.golang.org/grpc", "", []string{"api/quorate/v1", "client", "internal/server", "cmd/quorate"},
		"gRPC is the server's face to clients, and the program has commands that are clients; peers speak internal/transport"},
	{"go.etcd.io/etcd", "", []string{"client", "internal/server"},
		"etcd's types are a wire format, not our domain; package client is a layer over etcd's client"},
	{"go.etcd.io/raft", "", []string{"consensus/etcdraft"}, "everybody else sees an engine like any other, in the words of the contract"},
	{"github.com/cockroachdb/pebble", "github.com/cockroachdb/pebble/v2/vfs", []string{"internal/engine"},
		"everybody else sees ordered bytes, so that the simulator can hand in the memory engine"},
	{"github.com/cockroachdb/pebble/v2/vfs", "", []string{"internal/env", "internal/engine", "internal/wal", "internal/node", "internal/sim"},
		"env's disk is pebble's file interface; only packages that own files need its words"},
	{"github.com/prometheus", "", []string{"internal/server", "cmd/quorate"}, "metrics are served, not kept: packages count in plain fields"},
	{"github.com/spf13", "", []string{"cmd/quorate"}, "flags are the program's; packages take a Config"},
	{"go.yaml.in", "", []string{"cmd/quorate"}, "configuration files are the program's"},
	{"github.com/anishathalye/porcupine", "", []string{"internal/sim"}, "checkers belong to tests and the simulator"},
}

// TestOutsidePackages: a dependency stays behind the package that chose it.
func TestOutsidePackages(t *testing.T) {
	tr := load(t)
	for _, f := range tr.production() {
		f.imports(func(spec *ast.ImportSpec, target string) {
			for _, x := range exclusives {
				if under(target, x.outside) && !(x.except != "" && under(target, x.except)) && !slices.Contains(x.users, f.pkg) {
					t.Errorf("%s: %s must not import %s: %s. It is for %s", tr.at(f, spec), f.pkg, target, x.why, strings.Join(x.users, ", "))
				}
			}
		})
	}
}

// suites are packages of tests that others run on code of their own. They import
// testing as net/http/httptest does; directions lets nobody import them in turn.
var suites = map[string]string{
	"consensus/consensustest": "an engine in another module runs the suite, so it cannot be in a _test.go file",
	"internal/pki/pkitest":    "tests of several packages need certificates",
}

// TestNobodyImportsTests: test support does not leak into programs.
func TestNobodyImportsTests(t *testing.T) {
	tr := load(t)
	for pkg, r := range directions {
		for _, target := range r.may {
			if why := suites[target]; why != "" {
				t.Errorf("%s may import %s, which is tests: %s. It would be linked into the program", pkg, target, why)
			}
		}
	}
	for _, f := range tr.production() {
		if suites[f.pkg] != "" {
			continue
		}
		f.imports(func(spec *ast.ImportSpec, target string) {
			if target == "testing" || strings.HasPrefix(target, "testing/") {
				t.Errorf("%s: imports %s: it would be linked into the program. Move the code to a _test.go file", tr.at(f, spec), target)
			}
		})
	}
}

func under(target, root string) bool {
	return target == root || strings.HasPrefix(target, root+"/")
}
