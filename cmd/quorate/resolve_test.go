package main

import (
	"crypto/tls"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate/internal/pki"
)

// configureFrom runs a command line up to the configuration that it means.
func configureFrom(t *testing.T, environ []string, args ...string) (*serveConfig, []string, error) {
	t.Helper()
	p, _, _ := newTestProcess(args...)
	p.environ = environ
	root := newRoot(p)
	line := p.commandLine(root)
	cmd, rest, err := root.Find(line)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return nil, nil, flagError(cmd, err)
	}
	return p.configure(newFlagTable(), cmd.Flags())
}

// Goal: without flags we are what etcd is without flags. Method: etcd 3.7's defaults
// written out in full.
func TestDefaultsAreEtcds(t *testing.T) {
	c, warnings, err := configureFrom(t, nil)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	want := Config{
		Name:                "default",
		DataDir:             "default.etcd",
		ListenClientURLs:    []string{"http://localhost:2379"},
		AdvertiseClientURLs: []string{"http://localhost:2379"},
		ListenPeerURLs:      []string{"http://localhost:2380"},
		AdvertisePeerURLs:   []string{"http://localhost:2380"},
		Bootstrap: Bootstrap{
			Cluster: []Member{{Name: "default", PeerURLs: []string{"http://localhost:2380"}}},
			Token:   "etcd-cluster",
		},
		TLS:             pki.Config{MinVersion: tls.VersionTLS12},
		ReplaceAfter:    5 * time.Minute,
		QuotaBytes:      2 << 30,
		RequestBytesMax: 1572864,
		TxnOpsMax:       128,
		SnapshotCount:   10000,
		Clients: Clients{
			StreamsMax:       1024, // etcd has no limit
			ProgressInterval: 10 * time.Minute,
			PingMin:          5 * time.Second,
			PingInterval:     2 * time.Hour,
			PingTimeout:      20 * time.Second,
		},
		Heartbeat: 100 * time.Millisecond,
		Election:  time.Second,
		Engine:    "", // what is recorded, or raft: TestEngineIsAskedForOnlyIfNamed
	}
	if diff := cmp.Diff(want, c.Node); diff != "" {
		t.Error(diff)
	}
	if err := checkBootstrap(&c.Node); err != nil {
		t.Error(err)
	}
}

// Goal: Q4, each bad input is one sentence that names the flag and the remedy. Method: a
// table of command lines with a part of the sentence.
func TestBadInput(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--name=", "--name is empty"},
		{"--name a=b", `contains '=' or ','`},
		{"--name a/b", "add --data-dir"},
		{"--name " + strings.Repeat("x", 257), "longer than 256 bytes"},
		{"--max-txn-ops -1", `--max-txn-ops: "-1" is not a whole number`},
		{"--max-txn-ops 0", "--max-txn-ops is 0: it must be between 1 and"},
		{"--max-request-bytes 0", "between 1 and 10485760"},
		{"--max-request-bytes 4000000000", "between 1 and 10485760"},
		{"--snapshot-count -5", "--snapshot-count is -5: it must be 1 or more"},
		{"--quota-backend-bytes 1GB", `"1GB" is not a whole number`},
		{"--heartbeat-interval 0", "10 ms or more"},
		{"--heartbeat-interval 300", "at least five times --heartbeat-interval, which is 300 ms"},
		{"--grpc-keepalive-timeout -5s", "must not be negative"},
		{"--listen-metrics-urls http://127.0.0.1:2380", "--listen-peer-urls and --listen-metrics-urls both have"},
		{"--election-timeout 60000", "50000 ms or less"},
		{"--auto-compaction-retention -1", "periodic it must be hours or a duration"},
		{"--auto-compaction-retention -5m", "0 or more"},
		{"--auto-compaction-retention soon", "hours or a duration such as 30m"},
		{"--auto-compaction-mode revision --auto-compaction-retention 5m", "a number of revisions"},
		{"--auto-compaction-mode revision --auto-compaction-retention -5", "0 or more"},
		{"--auto-compaction-mode hourly", `"hourly" is not periodic or revision`},
		{"--initial-cluster-state old", `"old" is not new or existing`},
		{"--initial-cluster-token=", "any text that differs"},
		{"--engine zab", `"zab" is not one of raft, paxos, etcdraft`},
		{"--write-quorum half", `--write-quorum: "half" is not a whole number`},
		{"--write-quorum -1", `--write-quorum: "-1" is not a whole number`},
		{"--log-format xml", `"xml" is not json or console`},
		{"--log-level loud", "is not one of debug, info"},
		{"--log-outputs=", "write stderr, stdout or a file"},
		{"--logger capnslog", `"capnslog" is not zap`},
		{"--shutdown-timeout 0s", "longer than 0s"},
		{"--listen-peer-urls https://10.0.0.1:2380", `"https://10.0.0.1:2380" is refused because TLS between nodes is not built yet`},
		{"--initial-advertise-peer-urls https://10.0.0.1:2380", "TLS between nodes is not built yet"},
		{"--listen-metrics-urls https://10.0.0.1:2381", "--listen-metrics-urls has https://10.0.0.1:2381, and there is no certificate for it: add --cert-file and --key-file"},
		{"--listen-client-urls https://10.0.0.1:2379 --advertise-client-urls https://10.0.0.1:2379", "--listen-client-urls has https://10.0.0.1:2379, and there is no certificate for it"},
		{"--cert-file a.crt", "--cert-file needs --key-file beside it"},
		{"--key-file a.key", "--key-file needs --cert-file beside it"},
		{"--client-cert-file a.crt", "--client-cert-file needs --client-key-file beside it"},
		{"--cert-file a.crt --key-file a.key", "--cert-file has no effect without an https URL to listen on"},
		{"--client-cert-auth", "--client-cert-auth needs --trusted-ca-file"},
		{"--client-cert-auth --trusted-ca-file ca.crt", "--client-cert-auth has no effect without an https URL"},
		{"--tls-max-version TLS1.1", `"TLS1.1" is not TLS1.2 or TLS1.3`},
		{"--tls-min-version TLS1.1", `"TLS1.1" is not TLS1.2 or TLS1.3`},
		{"--tls-min-version TLS1.3 --tls-max-version TLS1.2", "--tls-max-version is below --tls-min-version"},
		{"--tls-min-version TLS1.3 --cipher-suites TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "whose suites cannot be chosen"},
		{"--cipher-suites TLS_RSA_WITH_RC4_128_SHA", "is unknown or not safe"},
		{"--auto-tls", "certificates are not made here"},
		{"--client-crl-file a", "--client-crl-file is refused because certificates are not checked for this yet"},
		{"--peer-cert-file a", "--peer-cert-file is refused because TLS between nodes is not built yet"},
		{"--listen-peer-urls unix://sock", "Unix socket"},
		{"--listen-peer-urls ftp://10.0.0.1:2380", "write http://HOST:PORT"},
		{"--listen-peer-urls http://10.0.0.1", "has no port"},
		{"--listen-peer-urls http://10.0.0.1:0", "no port between 1 and 65535"},
		{"--listen-peer-urls http://10.0.0.1:66000", "no port between 1 and 65535"},
		{"--listen-peer-urls http://10.0.0.1:2380/x", "more than a host and a port"},
		{"--listen-peer-urls http://db1.example:2380", "names a host to listen on"},
		{"--listen-peer-urls=", "--listen-peer-urls is empty"},
		{"--initial-advertise-peer-urls http://:2380", "names no host"},
		{"--listen-client-urls http://127.0.0.1:2000", "needs --advertise-client-urls beside it"},
		{"--listen-peer-urls http://127.0.0.1:2379", "give each a port of its own"},
		{"--initial-cluster http://127.0.0.1:2380", "has no name"},
		{"--initial-cluster default=https://127.0.0.1:2380", "TLS between nodes is not built yet"},
		{"--keyspace-domain *.example.com", "write a domain such as etcd.example.com"},
		{"--keyspace-domain .example.com", "write a domain such as etcd.example.com"},
		{"--keyspace-domain example.com:2379", "without port"},
		{"--keyspace-domain http://example.com", "write a domain"},
		{"--keyspace-domain .", "write a domain"},
		{"--keyspace-domain " + strings.Repeat("a.", 94) + "aa", "use up to 189"},
		{"--listen http://127.0.0.1:2479", `--listen: "http://127.0.0.1:2479" names no keyspace: write NAME=http://HOST:PORT`},
		{"--listen =http://127.0.0.1:2479", "names no keyspace"},
		{"--listen Team=http://127.0.0.1:2479", `name "Team" has other characters`},
		{"--listen system=http://127.0.0.1:2479", `"system" is the cluster's own keyspace, which serves no client: name another`},
		{"--listen a=https://127.0.0.1:2479", "--listen has https://127.0.0.1:2479, and there is no certificate for it"},
		{"--listen a=http://127.0.0.1", "has no port"},
		{"--listen a=http://db1.example:2479", "names a host to listen on"},
		{"--listen a=http://127.0.0.1:2479,b=http://localhost:2479", "--listen has http://localhost:2479 twice: give each keyspace a port of its own"},
		{"--listen a=http://127.0.0.1:2479 --listen a=http://127.0.0.1:2479", "twice"},
		{"--listen a=http://127.0.0.1:2379", "--listen-client-urls and --listen both have http://127.0.0.1:2379: give each a port of its own"},
		{"--listen a=http://127.0.0.1:2380", "--listen-peer-urls and --listen both have"},
		{"--listen " + strings.Repeat("a=http://127.0.0.1:1,", 257), "use up to 256"},
		{"--join 10.0.0.1:2379", "write http://HOST:PORT"},
		{"--join http://:2379", "names no host"},
		{"--join http://127.0.0.1:2379", "where this node is itself: name nodes of the running cluster"},
		{"--join http://10.0.0.1:2379 --initial-cluster a=http://10.0.0.1:2380", "--join joins a running cluster, and --initial-cluster lists one to found: leave one of them out"},
		{"--join http://10.0.0.1:2379 --engine paxos --write-quorum 2", "--write-quorum is chosen when a cluster is founded, and --join joins one: leave it out"},
		{"--zone eu-1//rack", "as in eu-1 or eu-1/rack-7"},
		{"--zone a/b/c/d/e/f/g/h/i/j/k", "as in eu-1 or eu-1/rack-7"},
		{"--weight 0", "--weight: invalid node: weight 0: use 1 to 1024"},
		{"--weight 1025", "use 1 to 1024"},
		{"--weight heavy", `"heavy" is not a whole number`},
		{"--replace-after -1s", "must not be negative"},
		{"--replace-after 5", "is not a duration"},
		{"--force-new-cluster", "--force-new-cluster is refused"},
		{"--discovery-password secret", "--discovery-password is refused"},
	} {
		_, _, err := configureFrom(t, nil, strings.Fields(c.args)...)
		if err == nil {
			t.Errorf("%s is accepted", c.args)
			continue
		}
		checkSentence(t, c.args, err.Error(), c.want)
	}
}

func checkSentence(t *testing.T, input, sentence, want string) {
	t.Helper()
	switch {
	case !strings.Contains(sentence, want):
		t.Errorf("%s: %q lacks %q", input, sentence, want)
	case strings.Contains(sentence, "\n"), strings.HasSuffix(sentence, "."):
		t.Errorf("%s: %q is not one sentence in our form", input, sentence)
	case strings.Contains(sentence, "secret"):
		t.Errorf("%s: %q shows a secret", input, sentence)
	}
}

// Goal: a domain is taken as people write it.
func TestKeyspaceDomain(t *testing.T) {
	for given, want := range map[string]string{
		"": "", "etcd.example.com": "etcd.example.com", "Etcd.Example.COM.": "etcd.example.com", "local": "local",
		strings.Repeat("a.", 94) + "a": strings.Repeat("a.", 94) + "a",
	} {
		c, _, err := configureFrom(t, nil, "--keyspace-domain", given)
		if err != nil {
			t.Errorf("%s: %v", given, err)
			continue
		}
		if got := serverConfig(&c.Node, nil).KeyspaceDomain; got != want {
			t.Errorf("%s became %q, want %q", given, got, want)
		}
	}
}

// Goal: flags, variables and file say whom a node joins and what it is to carry; a weight that
// was not given is not one.
func TestJoinFlags(t *testing.T) {
	file := writeFile(t, "join:\n- http://10.0.0.1:2379\n- http://10.0.0.2:2379\nzone: eu-1/rack-7\nweight: 1\nreplace-after: 0s\n")
	for _, c := range []struct{ environ, args string }{
		{"", "--join http://10.0.0.1:2379,http://10.0.0.2:2379 --zone eu-1/rack-7 --weight 1 --replace-after 0"},
		{"", "--join http://10.0.0.1:2379 -join http://10.0.0.2:2379 -zone eu-1/rack-7 -weight=1 --replace-after 0s"},
		{"QUORATE_JOIN=http://10.0.0.1:2379,http://10.0.0.2:2379 QUORATE_ZONE=eu-1/rack-7 QUORATE_WEIGHT=1 QUORATE_REPLACE_AFTER=0s", ""},
		{"", "--config-file " + file},
	} {
		cfg, _, err := configureFrom(t, strings.Fields(c.environ), strings.Fields(c.args)...)
		if err != nil {
			t.Errorf("%v: %v", c, err)
			continue
		}
		n := &cfg.Node
		if strings.Join(n.Join, " ") != "http://10.0.0.1:2379 http://10.0.0.2:2379" || n.Zone != "eu-1/rack-7" || n.Weight != 1 || n.ReplaceAfter != 0 {
			t.Errorf("%v: %+v", c, n)
		}
		if err := checkBootstrap(n); err != nil {
			t.Errorf("%v: %v", c, err)
		}
	}
	if c, _, err := configureFrom(t, nil, "--join", "http://10.0.0.1:2379"); err != nil || c.Node.Weight != 0 {
		t.Errorf("weight %+v, %v", c, err)
	}
}

// Goal: a wrong --initial-cluster says what does not fit. Method: one node's flags with
// one mistake each.
func TestBootstrapMistakes(t *testing.T) {
	const (
		own  = "--name a --initial-advertise-peer-urls http://10.0.0.1:2380 --initial-cluster "
		five = "a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380,d=http://10.0.0.4:2380,e=http://10.0.0.5:2380"
	)
	for _, c := range []struct{ args, want string }{
		{own + "b=http://10.0.0.2:2380,c=http://10.0.0.3:2380", `lists b, c but not this member: correct --name "a" or add a=http://10.0.0.1:2380`},
		{own + "a=http://10.0.0.9:2380,b=http://10.0.0.2:2380", "says a=http://10.0.0.9:2380, but --initial-advertise-peer-urls is http://10.0.0.1:2380"},
		{own + "a=http://10.0.0.1:2380,b=http://10.0.0.1:2380", "gives http://10.0.0.1:2380 to both a and b"},
		{own + "a=http://10.0.0.1:2380,a=http://10.0.0.1:2380", "lists a=http://10.0.0.1:2380 twice"},
		{own + "a=http://10.0.0.1:2380,a=http://10.0.0.2:2380", "give each member a name of its own"},
		{own + "a=http://10.0.0.1:2380 --initial-cluster-state existing", "lists only this member"},
		{own + five + " --engine paxos --write-quorum 1", "--write-quorum is 1: a decision would be on one disk, and lost with it: use 2 or more"},
		{own + five + " --engine paxos --write-quorum 4", "of 5 members 3 are a majority, and more never have to decide: use 2 or more, up to 3"},
		{own + five + " --engine etcdraft --write-quorum 2", "engine etcdraft always decides with a majority"},
		{own + five + " --write-quorum 2", "engine raft always decides with a majority: leave it out, or found the cluster with --engine paxos"},
		{"--engine paxos --write-quorum 2", "only one member"},
		{"--name a --initial-advertise-peer-urls http://10.0.0.1:2380,http://10.0.0.1:2390 --initial-cluster a=http://10.0.0.1:2380", "add a=http://10.0.0.1:2390 to it"},
	} {
		cfg, _, err := configureFrom(t, nil, strings.Fields(c.args)...)
		if err != nil {
			t.Fatal(err)
		}
		if err = checkBootstrap(&cfg.Node); err == nil {
			t.Errorf("%s is accepted", c.args)
			continue
		}
		checkSentence(t, c.args, err.Error(), c.want)
	}
}

// Goal: what etcd accepts is accepted. Method: forms from its documentation.
func TestBootstrapForms(t *testing.T) {
	for _, args := range []string{
		"--name a --initial-advertise-peer-urls http://10.0.0.1:2380",
		"--initial-advertise-peer-urls http://db1.example:2380",
		"--name a --initial-cluster a=http://localhost:2380,b=http://10.0.0.2:2380,",
		"--name a --initial-advertise-peer-urls http://127.0.0.1:2380 --initial-cluster a=http://localhost:2380",
		"--name a --initial-advertise-peer-urls http://h:1,http://h:2 --initial-cluster a=http://h:2,b=http://g:1,a=http://h:1",
		"--name a --initial-cluster a=http://localhost:2380,b=http://10.0.0.2:2380 --initial-cluster-state existing",
		"--name a --initial-cluster a=http://localhost:2380,b=http://10.0.0.2:2380 --engine paxos --write-quorum 2",
		"--engine raft --write-quorum 0",
		"--listen-client-urls http://0.0.0.0:2379 --advertise-client-urls http://DB1.example:2379",
		"--listen-peer-urls http://[::]:2380",
		"--listen-client-urls http://0.0.0.0:2379 --advertise-client-urls http://0.0.0.0:2379",
	} {
		c, _, err := configureFrom(t, nil, strings.Fields(args)...)
		if err == nil {
			err = checkBootstrap(&c.Node)
		}
		if err != nil {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// Goal: a default is no wish: it must not contradict what a directory has recorded, and an
// engine that was named must. Method: each way to name one, and none.
func TestEngineIsAskedForOnlyIfNamed(t *testing.T) {
	file := writeFile(t, "engine: paxos\nwrite-quorum: 2\n")
	for _, c := range []struct {
		environ, args string
		engine        string
		write         int
	}{
		{"", "", "", 0},
		{"", "--engine raft", "raft", 0},
		{"", "--engine=paxos --write-quorum=2", "paxos", 2},
		{"QUORATE_ENGINE=etcdraft", "", "etcdraft", 0},
		{"QUORATE_ENGINE=etcdraft", "--engine raft", "raft", 0},
		{"", "--config-file " + file, "paxos", 2},
	} {
		cfg, _, err := configureFrom(t, strings.Fields(c.environ), strings.Fields(c.args)...)
		if err != nil || cfg.Node.Engine != c.engine || cfg.Node.WriteQuorum != c.write {
			t.Errorf("%s %s: %+v, %v", c.environ, c.args, cfg, err)
		}
	}
}

func TestCompactionRetention(t *testing.T) {
	for _, c := range []struct {
		mode, retention string
		want            Compaction
	}{
		{"periodic", "0", Compaction{}},
		{"periodic", "5", Compaction{Period: 5 * time.Hour}},
		{"periodic", "30m", Compaction{Period: 30 * time.Minute}},
		{"revision", "0", Compaction{}},
		{"revision", "5000", Compaction{Revisions: 5000}},
	} {
		cfg, _, err := configureFrom(t, nil, "--auto-compaction-mode", c.mode, "--auto-compaction-retention", c.retention)
		if err != nil || cfg.Node.Compaction != c.want {
			t.Errorf("%s %s: %+v, %v", c.mode, c.retention, cfg, err)
		}
	}
}

func TestQuota(t *testing.T) {
	for text, want := range map[string]int64{"0": 2 << 30, "-1": 0, "4096": 4096} {
		c, _, err := configureFrom(t, nil, "--quota-backend-bytes", text)
		if err != nil || c.Node.QuotaBytes != want {
			t.Errorf("quota %s: %+v, %v", text, c, err)
		}
	}
}

// Goal: a flag wins over QUORATE_, which wins over ETCD_, and whatever loses is named.
func TestPrecedence(t *testing.T) {
	environ := []string{
		"ETCD_NAME=e", "QUORATE_NAME=q", "ETCD_MAX_TXN_OPS=7", "ETCD_DATA_DIR=/e",
		"ETCD_PORT_2379_TCP=tcp://10.0.0.1:2379", "ETCD_WAL_DIR=", "OTHER=1", "QUORATE_MAX_WALS=3",
	}
	c, warnings, err := configureFrom(t, environ, "-data-dir", "/flag")
	if err != nil {
		t.Fatal(err)
	}
	if c.Node.Name != "q" || c.Node.TxnOpsMax != 7 || c.Node.DataDir != "/flag" || c.Node.WALDir != "" {
		t.Errorf("%+v", c.Node)
	}
	want := []string{
		"ETCD_DATA_DIR is ignored: --data-dir was given",
		"ETCD_NAME is ignored: QUORATE_NAME is set",
		"ETCD_PORT_2379_TCP is ignored: no flag has this name",
		"--max-wals (from QUORATE_MAX_WALS) has no effect yet: the log recycles its segments by itself",
	}
	if !reflect.DeepEqual(warnings, want) {
		t.Error(cmp.Diff(want, warnings))
	}
	if _, _, err := configureFrom(t, []string{"ETCD_PEER_CERT_FILE=/x"}); err == nil || !strings.HasPrefix(err.Error(), "--peer-cert-file (from ETCD_PEER_CERT_FILE) is refused") {
		t.Error(err)
	}
	if _, _, err := configureFrom(t, []string{"ETCD_MAX_TXN_OPS=many"}); err == nil || !strings.HasPrefix(err.Error(), `--max-txn-ops (from ETCD_MAX_TXN_OPS): "many" is not`) {
		t.Error(err)
	}
}

// Goal: a URL that is accepted has one form. Method: parse the result again.
func FuzzParseURL(f *testing.F) {
	for _, s := range []string{"http://localhost:2379", "http://[::1]:1", "https://a:1", "http://a:0", "unix://x", "http://A.b:99/", "http://a:1?x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := parseURL(s)
		if err != nil {
			return
		}
		if again, err := parseURL(u); err != nil || again != u {
			t.Fatalf("%q became %q and then %q, %v", s, u, again, err)
		}
		address(u)
	})
}
