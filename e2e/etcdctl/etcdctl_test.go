package etcdctl

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/e2e/cluster"
)

var keyValues = []line{
	{args: "put %a 1", want: "OK\n"},
	{args: "put %b 2", want: "OK\n"},
	{args: "put %c 3", want: "OK\n"},
	{args: "get %a", want: "%a\n1\n"},
	{args: "get %a --print-value-only", want: "1\n"},
	{args: "get %a --consistency=s", want: "%a\n1\n"},
	{args: "get %missing", want: ""},
	{args: "get % --prefix --keys-only", want: "%a\n\n%b\n\n%c\n\n"},
	{args: "get % --prefix --limit=2 --order=DESCEND --sort-by=VALUE", want: "%c\n3\n%b\n2\n"},
	{args: "get %a %c", want: "%a\n1\n%b\n2\n"},
	{args: "get %b --from-key --limit=1", want: "%b\n2\n"},
	{args: "get % --prefix --count-only -w fields", want: `.*"Count" : 3\n`},
	{args: "get %a -w json", want: `\{"header":\{"cluster_id":\d+,"member_id":\d+,"revision":\d+,"raft_term":\d+\},"kvs":\[\{"key":"[^"]+","create_revision":\d+,"mod_revision":\d+,"version":1,"value":"MQ=="\}\],"count":1\}\n`},
	{args: "put %a 4 --prev-kv", want: "OK\n%a\n1\n"},
	{args: "put %a --ignore-value --prev-kv", want: "OK\n%a\n4\n"},
	{args: "put %none --ignore-value", fails: `.*etcdserver: key not found.*`},
	{args: "put %a", stdin: "5", want: "OK\n"},
	{args: "get %a --rev=999999999", fails: `.*etcdserver: mvcc: required revision is a future revision.*`},
	{args: "get %a --hex", want: `(\\x[0-9a-f]{2})+\n\\x35\n`},
	{args: "del %b --prev-kv", want: "1\n%b\n2\n"},
	{args: "del %missing", want: "0\n"},
	{args: "del % --prefix", want: "2\n"},
	{args: "get % --prefix", want: ""},
}

var transactions = []line{
	{args: "put %k 1", want: "OK\n"},
	{args: "txn", stdin: "value(\"%k\") = \"1\"\n\nput %k 2\nget %k\n\nget %k\n\n", want: "SUCCESS\n\nOK\n\n%k\n2\n"},
	{args: "txn", stdin: "version(\"%k\") > \"7\"\n\nput %k 3\n\nget %k\nput %other x\n\n", want: "FAILURE\n\n%k\n2\n\nOK\n"},
	{args: "txn", stdin: "create(\"%missing\") = \"0\"\nversion(\"%k\") = \"2\"\n\ndel % --prefix\n\n\n", want: "SUCCESS\n\n2\n"},
	{args: "txn", stdin: "mod(\"%k\") = \"0\"\n\nput %k 1\nput %k 2\n\n\n", fails: `.*etcdserver: duplicate key given in txn request.*`},
	{args: "txn -w json", stdin: "mod(\"%k\") = \"0\"\n\nput %k 1\n\n\n", want: `\{"header":\{.*\},"succeeded":true,"responses":\[\{"Response":\{"response_put":\{"header":\{"revision":\d+\}\}\}\}\]\}\n`},
}

// Goal: reading, writing and transactions print what they print with etcd,
// with members missing and back. Method: scripts of exact output.
func TestKeyValues(t *testing.T) {
	phases(t, func(t *testing.T, c *cluster.Cluster, p phase) {
		ctl := newCtl(t, c.Members...) // all: etcdctl must get round a dead one
		ctl.script(p.name+"/kv/", keyValues)
		ctl.script(p.name+"/txn/", transactions)
	})
}

// Goal: leases are granted, shown, kept, revoked. Method: a script whose id
// comes from its first command.
func TestLeases(t *testing.T) {
	phases(t, func(t *testing.T, c *cluster.Cluster, p phase) {
		ctl := newCtl(t, c.Members...)
		out := ctl.ok("lease", "grant", "100")
		m := regexp.MustCompile(`\Alease ([0-9a-f]+) granted with TTL\(100s\)\n\z`).FindStringSubmatch(out)
		if m == nil {
			t.Fatalf("lease grant printed %q", out)
		}
		id, key := m[1], p.name+"/leased"
		ctl.script("", []line{
			{args: "put " + key + " v --lease=" + id, want: "OK\n"},
			{args: "lease timetolive " + id, want: `lease ` + id + ` granted with TTL\(100s\), remaining\(\d+s\)\n`},
			{args: "lease timetolive " + id + " --keys", want: `lease ` + id + ` granted with TTL\(100s\), remaining\(\d+s\), attached keys\(\[` + key + `\]\)\n`},
			{args: "lease list", want: `found \d+ leases\n.*` + id + `.*\n`},
			{args: "lease keep-alive --once " + id, want: `lease ` + id + ` keepalived with TTL\(100\)\n`},
			{args: "put " + key + "2 v --lease=1234", fails: `.*etcdserver: requested lease not found.*`},
			{args: "lease revoke " + id, want: `lease ` + id + ` revoked\n`},
			{args: "get " + key, want: ``},
			{args: "lease timetolive " + id, want: `lease ` + id + ` already expired\n`},
			{args: "lease revoke " + id, fails: `.*etcdserver: requested lease not found.*`},
		})
	})
}

// Goal: compaction ends what it must and nothing else. Method: write, compact
// at the last revision, read before, at and after it.
func TestCompaction(t *testing.T) {
	phases(t, func(t *testing.T, c *cluster.Cluster, p phase) {
		ctl := newCtl(t, c.Members...)
		key := p.name + "/compacted"
		ctl.ok("put", key, "1")
		first := revision(t, ctl.ok("get", key, "-w", "json"))
		ctl.ok("put", key, "2")
		ctl.ok("put", key, "3")
		at := first + 1
		compacted := `.*etcdserver: mvcc: required revision has been compacted.*`
		ctl.script("", []line{
			{args: fmt.Sprintf("compaction %d --physical=%v", at, p.name == "all"), want: fmt.Sprintf("compacted revision %d\n", at)},
			{args: fmt.Sprintf("get %s --rev=%d --print-value-only", key, at), want: "2\n"},
			{args: fmt.Sprintf("get %s --rev=%d", key, first), fails: compacted},
			{args: fmt.Sprintf("compaction %d", at), fails: compacted},
			{args: fmt.Sprintf("compaction %d", at+1_000_000), fails: `.*required revision is a future revision.*`},
			{args: "get " + key + " --print-value-only", want: "3\n"},
		})
	})
}

func revision(t *testing.T, out string) int64 {
	t.Helper()
	var r struct{ Header struct{ Revision int64 } }
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	return r.Header.Revision
}

// Goal: the cluster describes itself as etcd's does. Method: endpoint and
// member commands as JSON, checked for agreement among members.
func TestClusterCommands(t *testing.T) {
	phases(t, func(t *testing.T, c *cluster.Cluster, p phase) {
		all, running := newCtl(t, c.Members...), newCtl(t, p.running...)
		all.ok("put", p.name, "v")

		var health []struct {
			Endpoint string
			Health   bool
		}
		decode(t, running.ok("endpoint", "health", "-w", "json"), &health)
		for _, h := range health {
			if !h.Health {
				t.Errorf("%s is not healthy", h.Endpoint)
			}
		}
		var status []struct {
			Status struct {
				Header struct {
					MemberID uint64 `json:"member_id"`
				}
				Leader  uint64
				Version string
			}
		}
		decode(t, running.ok("endpoint", "status", "-w", "json"), &status)
		if len(status) != len(p.running) || status[0].Status.Leader == 0 {
			t.Errorf("endpoint status: %+v", status)
		}
		for _, s := range status {
			if s.Status.Leader != status[0].Status.Leader || !matches(`3\.7\.\d+`, s.Status.Version) {
				t.Errorf("endpoint status differs: %+v", status)
			}
		}
		checkHashes(t, running)
		checkMembers(t, all, c)
	})
}

// checkHashes compares the hash of one revision on all running members.
func checkHashes(t *testing.T, ctl *ctl) {
	rev := revision(t, ctl.ok("get", "x", "-w", "json"))
	deadline := time.Now().Add(20 * time.Second)
	for {
		var hashes []struct {
			HashKV struct{ Hash uint32 }
		}
		out, _, code := ctl.run("", "endpoint", "hashkv", fmt.Sprintf("--rev=%d", rev), "-w", "json")
		if code == 0 { // a member that lags refuses: a future revision for it
			decode(t, out, &hashes)
			for _, h := range hashes {
				if h.HashKV.Hash != hashes[0].HashKV.Hash {
					t.Errorf("hashes of revision %d differ: %s", rev, out)
				}
			}
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("no hash of revision %d from all members: %s", rev, out)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func checkMembers(t *testing.T, ctl *ctl, c *cluster.Cluster) {
	lines := strings.Split(strings.TrimSpace(ctl.ok("member", "list")), "\n")
	if len(lines) != len(c.Members) {
		t.Errorf("member list: %q", lines)
	}
	for _, m := range c.Members {
		want := fmt.Sprintf(`[0-9a-f]+, started, %s, %s, %s, false`, m.Name, m.PeerURL(), m.ClientURL())
		if !slices.ContainsFunc(lines, func(l string) bool { return matches(want, l) }) {
			t.Errorf("member list has no line %q: %q", want, lines)
		}
	}
}

func decode(t *testing.T, out string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
}

// Goal: `etcdctl watch` prints every event once and in order while members
// die and come back. Method: one watch from a revision in the past, puts in
// every phase.
func TestWatch(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Binary: cluster.ServerUnderTest(t), Members: 3})
	ctl := newCtl(t, c.Members...)
	ctl.ok("put", "w/first", "0")
	rev := revision(t, ctl.ok("get", "w/first", "-w", "json"))

	w := ctl.watch("w/", "--prefix", "--prev-kv", fmt.Sprintf("--rev=%d", rev))
	w.expect("PUT", "w/first", "0")
	last := ""
	for i := range 3 {
		c.Members[i].Kill()
		if _, err := c.WaitLeader(t.Context()); err != nil {
			t.Fatal(err)
		}
		value := fmt.Sprintf("down%d", i)
		ctl.ok("put", "w/key", value)
		w.expect(wantPut(last, value)...)
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		last = fmt.Sprintf("up%d", i)
		ctl.ok("put", "w/key", last)
		w.expect(wantPut(value, last)...)
	}
	ctl.ok("del", "w/key")
	w.expect("DELETE", "w/key", last, "w/key", "")
}

// wantPut is what a put of w/key prints with its previous value.
func wantPut(previous, value string) []string {
	if previous == "" {
		return []string{"PUT", "w/key", value}
	}
	return []string{"PUT", "w/key", previous, "w/key", value}
}

// Goal: lock and elect, which clients build on leases and revisions, work
// from the command line. Method: run a command under a lock while a member is
// down.
func TestLock(t *testing.T) {
	phases(t, func(t *testing.T, c *cluster.Cluster, p phase) {
		out := newCtl(t, c.Members...).ok("lock", "--ttl=30", p.name, "echo", "held")
		if out != "held\n" {
			t.Errorf("lock printed %q", out)
		}
	})
}

// Goal: `etcdctl check perf` passes with its small load: 150 requests a
// second for a minute.
func TestCheckPerf(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	c := cluster.Start(t, cluster.Options{Binary: cluster.ServerUnderTest(t), Members: 3})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	out, err := newCtl(t, c.Members...).command(ctx, "check", "perf", "--load=s", "--command-timeout=120s").Output() // the progress bar goes to stderr
	t.Logf("%s", out)
	if err != nil || !strings.Contains(string(out), "PASS") || strings.Contains(string(out), "FAIL") {
		t.Errorf("check perf: %v", err)
	}
}
