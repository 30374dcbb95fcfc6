package badinput

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/quorate/quorate/e2e/cluster"
)

// Goal: wrong flags are refused before anything is written. Method: one case
// per mistake; want is what the sentence must say.
func TestFlags(t *testing.T) {
	for _, c := range []struct {
		name  string
		flags []string // added; a flag that is there is replaced
		want  string
		etcd  bool // etcd refuses this, too
	}{
		{"unknown flag", []string{"--listen-client-url=http://127.0.0.1:1"}, `unknown flag.*--listen-client-url\b.*--listen-client-urls`, true},
		{"unknown flag without relative", []string{"--xyzzy=1"}, `unknown flag.*--xyzzy`, true},
		{"not a number", []string{"--max-txn-ops=many"}, `--max-txn-ops.*many`, true},
		{"not a URL", []string{"--listen-client-urls=127.0.0.1"}, `--listen-client-urls.*127\.0\.0\.1`, true},
		{"no port", []string{"--listen-peer-urls=http://127.0.0.1"}, `--listen-peer-urls.*port`, true},
		{"zero heartbeat", []string{"--heartbeat-interval=0"}, `--heartbeat-interval`, true},
		{"election below heartbeat", []string{"--heartbeat-interval=1000", "--election-timeout=1000"}, `--election-timeout.*--heartbeat-interval`, true},
		{"unknown engine", []string{"--engine=steam"}, `engine.*steam.*raft`, true},
		{"unknown cluster state", []string{"--initial-cluster-state=old"}, `--initial-cluster-state.*old.*new`, true},
		{"unknown log level", []string{"--log-level=loud"}, `--log-level.*loud`, true},
		{"member not in the list", []string{"--initial-cluster=other=http://127.0.0.1:7"}, `--initial-cluster.*--name|not in.*--initial-cluster|--name.*--initial-cluster`, true},
		{"malformed list", []string{"--initial-cluster=nonsense"}, `--initial-cluster.*nonsense`, true},
		{"empty name", []string{"--name="}, `--name`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if cluster.UnderTest() == "etcd" && !c.etcd {
				t.Skip("etcd accepts this")
			}
			m := one(t)
			for _, f := range c.flags {
				name, value, _ := strings.Cut(f, "=")
				set(m, name, value)
			}
			refused(t, m, c.want)
		})
	}
}

// weakening are flags whose absence would weaken security, durability or
// identity. A server that does not implement them must not pretend to.
var weakening = []string{
	"--auto-tls", "--client-crl-file=x",
	"--client-cert-allowed-hostname=x", "--peer-cert-file=x", "--peer-key-file=x", "--peer-client-cert-auth",
	"--peer-trusted-ca-file=x", "--peer-auto-tls", "--peer-crl-file=x", "--peer-cert-allowed-cn=x",
	"--peer-cert-allowed-hostname=x",
	"--cors=http://a", "--host-whitelist=a", "--auth-token=jwt", "--force-new-cluster",
	"--discovery-token=x", "--discovery-endpoints=http://a", "--discovery-srv=a",
}

// Goal: security flags are refused as long as they have no effect. Method:
// each flag alone; the sentence names it and says why it is refused.
func TestWeakeningFlags(t *testing.T) {
	cluster.NeedsQuorate(t)
	for _, f := range weakening {
		name, _, _ := strings.Cut(f, "=")
		t.Run(name, func(t *testing.T) {
			m := one(t)
			m.Args = append(m.Args, f)
			refused(t, m, regexp.QuoteMeta(name)+` is refused because .*`)
		})
	}
}

// Goal: an https URL is refused wherever there is no certificate for it, and between
// members: serving it in plain text would be worse than not at all.
func TestHTTPS(t *testing.T) {
	cluster.NeedsQuorate(t)
	for _, flag := range []string{"--listen-client-urls", "--listen-peer-urls", "--initial-advertise-peer-urls", "--listen-metrics-urls"} {
		t.Run(flag, func(t *testing.T) {
			m := one(t)
			set(m, flag, "https://127.0.0.1:1")
			refused(t, m, flag+`.*https`)
		})
	}
	t.Run("--initial-cluster", func(t *testing.T) {
		m := one(t)
		set(m, "--initial-cluster", m.Name+"=https://127.0.0.1:1")
		refused(t, m, `--initial-cluster.*https`)
	})
}

// Goal: two members with one name are refused, not taken for one member with
// two addresses.
func TestTwoMembersOneName(t *testing.T) {
	cluster.NeedsQuorate(t)
	m := one(t)
	set(m, "--initial-cluster", fmt.Sprintf("%s=%s,%s=http://127.0.0.1:7", m.Name, m.PeerURL(), m.Name))
	refused(t, m, `--initial-cluster.*`+m.Name+`.*(twice|two members|more than once|duplicate|a name of its own)`)
}

// Goal: the address in --initial-cluster and the one the member advertises
// must agree.
func TestOtherPeerAddress(t *testing.T) {
	m := one(t)
	set(m, "--initial-advertise-peer-urls", "http://127.0.0.1:7")
	refused(t, m, `--initial-advertise-peer-urls.*--initial-cluster|--initial-cluster.*--initial-advertise-peer-urls`)
}

// Goal: a port in use is named. Method: listen on it first.
func TestPortInUse(t *testing.T) {
	for _, which := range []string{"client", "peer"} {
		t.Run(which, func(t *testing.T) {
			m := one(t)
			addr := map[string]string{"client": m.ClientAddr, "peer": m.PeerAddr}[which]
			l, err := net.Listen("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			refused(t, m, regexp.QuoteMeta(addr)+`.*in use`)
		})
	}
}

// Goal: what cannot be a data directory is refused. Method: a file in its
// place, and a directory that cannot be made.
func TestDataDirIsNoDirectory(t *testing.T) {
	m := one(t)
	if err := os.WriteFile(m.DataDir, []byte("a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, m, regexp.QuoteMeta(m.DataDir)+`.*not a (directory|folder)`)
	below := one(t)
	set(below, "--data-dir", m.DataDir+"/below")
	refused(t, below, regexp.QuoteMeta(m.DataDir)+`.*not a (directory|folder)`)
}

// Goal: one directory has one process. Method: a second process with other
// ports; the first must not notice.
func TestSecondProcess(t *testing.T) {
	cluster.NeedsQuorate(t) // etcd waits for the lock without end
	first := one(t)
	mustStart(t, first)
	put(t, first, "k", "v")
	second := one(t)
	second.Args = second.Flags(second.Name + "=" + second.PeerURL())
	set(second, "--data-dir", first.DataDir)
	refused(t, second, regexp.QuoteMeta(first.DataDir)+`.*(in use|another process|locked)`)
	expect(t, first, "k", "v")
}

// Goal: the directory of another member is refused. Method: a stopped
// cluster; start member 1 on the directory of member 2.
func TestDirectoryOfAnotherMember(t *testing.T) {
	cluster.NeedsQuorate(t)
	c := cluster.Start(t, cluster.Options{Binary: cluster.ServerUnderTest(t), Members: 3})
	put(t, c.Members[0], "k", "v")
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	own, other := c.Members[0].DataDir, c.Members[1].DataDir
	set(c.Members[0], "--data-dir", other)
	c.Members[0].DataDir = other
	refused(t, c.Members[0], c.Members[1].Name+`.*`+c.Members[0].Name+`|`+c.Members[0].Name+`.*`+c.Members[1].Name)
	set(c.Members[0], "--data-dir", own)
	c.Members[0].DataDir = own
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, c.Members[0], "k", "v")
}

// Goal: the directory of another cluster is refused. Method: a member of a
// running cluster is started on the directory of a single-member cluster.
func TestDirectoryOfAnotherCluster(t *testing.T) {
	cluster.NeedsQuorate(t)
	stranger := one(t)
	mustStart(t, stranger)
	put(t, stranger, "strange", "v")
	mustStop(t, stranger)
	c := cluster.Start(t, cluster.Options{Binary: cluster.ServerUnderTest(t), Members: 3, Name: stranger.Name[:len(stranger.Name)-1]})
	m := c.Members[0] // same name, other cluster
	m.Kill()
	own := m.DataDir
	set(m, "--data-dir", stranger.DataDir)
	m.DataDir = stranger.DataDir
	refused(t, m, `another (member or )?cluster|different cluster|belongs to cluster`)
	set(m, "--data-dir", own)
	m.DataDir = own
	mustStart(t, m)
	mustStart(t, stranger)
	expect(t, stranger, "strange", "v")
}

// Goal: a directory that this release cannot read is refused untouched and
// serves again once it is as it was. Method: raise a format number, damage or
// remove a file, start, put it back.
func TestUnreadableDirectory(t *testing.T) {
	cluster.NeedsQuorate(t)
	newer := func(old []byte) []byte {
		return regexp.MustCompile(`(format"?:?|engine) ?[0-9]+`).ReplaceAll(old, []byte("${1} 9999"))
	}
	for _, c := range []struct {
		name, file string
		change     func([]byte) []byte // nil removes the file
		want       string
	}{
		{"newer identity", "member", func(old []byte) []byte {
			return regexp.MustCompile(`"format":\d+`).ReplaceAll(old, []byte(`"format":9999`))
		}, `9999.*newer`},
		{"newer engine", "db/FORMAT", newer, `9999.*(newer|knows)`},
		{"damaged identity", "member", func(old []byte) []byte { return bytes.Replace(old, []byte(`"name"`), []byte(`"nane"`), 1) }, `member.*(damaged|checksum)`},
		{"cut identity", "member", func(old []byte) []byte { return old[:len(old)/2] }, `member.*damaged`},
		{"no identity", "member", nil, `member.*missing`},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := one(t)
			mustStart(t, m)
			put(t, m, "k", "v")
			mustStop(t, m)
			path := filepath.Join(m.DataDir, c.file)
			old, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if c.change == nil {
				err = os.Remove(path)
			} else {
				err = os.WriteFile(path, c.change(old), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			refused(t, m, c.want)
			if err := os.WriteFile(path, old, 0o600); err != nil {
				t.Fatal(err)
			}
			mustStart(t, m)
			expect(t, m, "k", "v")
		})
	}
}

// Goal: a member that lost its disk cannot come back as if nothing had
// happened. Method: wipe one of three members; it must be refused, again and
// again, and the others go on.
func TestWipedMember(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Binary: cluster.ServerUnderTest(t), Members: 3})
	put(t, c.Members[0], "k", "v")
	m := c.Members[2]
	m.Kill()
	if err := os.RemoveAll(m.DataDir); err != nil {
		t.Fatal(err)
	}
	if cluster.UnderTest() == "etcd" {
		if err := m.Start(); err != nil {
			t.Fatal(err)
		}
		code, err := m.WaitExit(t.Context())
		if err != nil || code == 0 || !strings.Contains(m.Log(), "has already been bootstrapped") {
			t.Errorf("etcd accepts a wiped member: exit %d, %v", code, err)
		}
		return
	}
	for range 2 {
		refused(t, m, `member \S+ has already been bootstrapped`)
	}
	expect(t, c.Members[0], "k", "v")
	put(t, c.Members[1], "k", "w")
}
