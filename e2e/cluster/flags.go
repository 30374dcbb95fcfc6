package cluster

import (
	"flag"
	"os"
	"strconv"
	"testing"
	"time"
)

// Flags shared by all test packages. Each also has an environment variable,
// because `go test ./... -flag` fails in packages that do not know the flag.
var (
	serverFlag = flag.String("server", envString("E2E_SERVER", "quorate"),
		"server under test: quorate, or etcd to check the tests themselves")
	binaryFlag = flag.String("binary", envString("E2E_BINARY", ""),
		"path of a built quorate binary; empty builds ../cmd/quorate")
	engineFlag = flag.String("engine", envString("E2E_ENGINE", "raft"),
		"consensus engine of quorate's members: raft, paxos or etcdraft")
	keyspaceFlag = flag.String("keyspace", envString("E2E_KEYSPACE", ""),
		"keyspace in which quorate is asked, created for that; empty: the default one")
	seedFlag = flag.Uint64("seed", envUint("E2E_SEED", 0),
		"seed of every random choice; 0 takes one from the clock and prints it")
)

// Seed returns the seed of this run and logs it.
func Seed(t testing.TB) uint64 {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano()) % 1_000_000_000
	}
	t.Logf("seed %d", seed)
	return seed
}

// UnderTest names the server under test, "quorate" or "etcd".
func UnderTest() string { return *serverFlag }

// Again is the flags that repeat a run on the same server, for messages.
func Again() string {
	again := "-server " + UnderTest()
	if UnderTest() == "quorate" && Engine() != "raft" {
		again += " -engine " + Engine()
	}
	if *keyspaceFlag != "" {
		again += " -keyspace " + *keyspaceFlag
	}
	return again
}

// Engine names the consensus engine of quorate's members.
func Engine() string { return *engineFlag }

// IntFlag declares an integer flag whose default comes from an environment
// variable, then from fallback.
func IntFlag(name, env string, fallback int, usage string) *int {
	return flag.Int(name, int(envUint(env, uint64(fallback))), usage+" (environment: "+env+")")
}

// StringFlag is IntFlag for text.
func StringFlag(name, env, fallback, usage string) *string {
	return flag.String(name, envString(env, fallback), usage+" (environment: "+env+")")
}

func envString(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}

func envUint(name string, fallback uint64) uint64 {
	v, err := strconv.ParseUint(os.Getenv(name), 10, 64)
	if err != nil {
		return fallback
	}
	return v
}
