package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func writeFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "etcd.yml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Goal: etcd's file works here. Method: each form of value that etcd reads.
func TestConfigFile(t *testing.T) {
	path := writeFile(t, `
name: a
data-dir:                       # no value: the default
heartbeat-interval: 200
election-timeout: 2000
listen-client-urls: http://10.0.0.1:2379
listen-peer-urls: http://10.0.0.1:2380
initial-advertise-peer-urls: http://10.0.0.1:2380
initial-cluster: a=http://10.0.0.1:2380,b=http://10.0.0.2:2380
auto-compaction-retention: "1"
log-outputs: [stderr, /var/log/a.log]
log-level: debug
engine: raft
shutdown-timeout: 3s
grpc-keepalive-timeout: 20000000000   # nanoseconds
strict-reconfig-check: false
proxy: 'off'
client-transport-security:
  cert-file:
  client-cert-auth: false
peer-transport-security:
socket-options:
  reuse-port: true
`)
	c, warnings, err := configureFrom(t, []string{"ETCD_NAME=e"}, "--config-file", path, "--data-dir", "/flag")
	if err != nil {
		t.Fatal(err)
	}
	n := c.Node
	if n.Name != "a" || n.DataDir != "a.etcd" || n.Heartbeat != 200*time.Millisecond || len(n.Bootstrap.Cluster) != 2 ||
		n.Compaction.Period != time.Hour || c.ShutdownTimeout != 3*time.Second ||
		n.Clients.PingTimeout != 20*time.Second {
		t.Errorf("%+v", c)
	}
	if !slices.Equal(c.Log.Outputs, []string{"stderr", "/var/log/a.log"}) {
		t.Error(c.Log.Outputs)
	}
	want := []string{
		"etcd.yml line 17: proxy has no effect: it belongs to etcd's old proxy",
		"--data-dir is ignored: --config-file was given",
		"ETCD_NAME is ignored: --config-file was given",
		"--advertise-client-urls is not in the file: clients are told http://localhost:2379",
		"--socket-reuse-port (from etcd.yml line 23) has no effect yet",
		"--strict-reconfig-check (from etcd.yml line 16) has no effect yet",
	}
	if !slices.Equal(warnings, want) {
		t.Errorf("%q", warnings)
	}
}

func TestConfigFileFromVariable(t *testing.T) {
	a, b := writeFile(t, "name: a"), writeFile(t, "name: b")
	c, _, err := configureFrom(t, []string{"ETCD_CONFIG_FILE=" + a, "QUORATE_CONFIG_FILE=" + b})
	if err != nil || c.Node.Name != "b" {
		t.Error(c, err)
	}
	if c, _, err = configureFrom(t, []string{"ETCD_CONFIG_FILE=" + a}, "--config-file", b); err != nil || c.Node.Name != "b" {
		t.Error(c, err)
	}
}

// Goal: Q4 for the file: file, line, what is wrong, what to do.
func TestConfigFileMistakes(t *testing.T) {
	for _, c := range []struct{ content, want string }{
		{"name: a\nmax-txn-op: 5\n", `etcd.yml line 2: unknown key "max-txn-op": did you mean "max-txn-ops"?`},
		{"wibble: 5\n", `etcd.yml line 1: unknown key "wibble": 'quorate help etcd-flags'`},
		{"config-file: x\n", `unknown key "config-file"`},
		{"name: a\nname: b\n", "etcd.yml line 2: name is there twice"},
		{"max-txn-ops: many\n", `--max-txn-ops (from etcd.yml line 1): "many" is not a whole number`},
		{"max-txn-ops: 0\n", "--max-txn-ops (from etcd.yml line 1) is 0"},
		{"max-txn-ops: [1, [2]]\n", "must be a list of plain values"},
		{"max-txn-ops: {a: 1}\n", "max-txn-ops must be a plain value"},
		{"client-transport-security: x\n", "must hold keys of its own"},
		{"peer-transport-security:\n  cert-fil: x\n", `line 2: unknown key "peer-transport-security.cert-fil": did you mean "cert-file"?`},
		{"peer-transport-security:\n  cert-file: secret\n", "--peer-cert-file (from etcd.yml line 2) is refused because TLS"},
		{"discovery-config:\n  token: secret\n", "--discovery-token (from etcd.yml line 2) is refused"},
		{"client-transport-security:\n  allowed-cn: [x]\n", "is refused because certificates are not checked for this yet"},
		{"force-new-cluster: true\n", "--force-new-cluster (from etcd.yml line 1) is refused"},
		{"- a\n- b\n", "must hold 'key: value' lines"},
		{"name: [\n", "is not YAML"},
		{"[a]: b\n", "a key must be a word"},
		{strings.Repeat("#", 1<<20+1), "larger than 1 MiB"},
	} {
		_, _, err := configureFrom(t, nil, "--config-file", writeFile(t, c.content))
		if err == nil {
			t.Errorf("%q is accepted", c.content)
			continue
		}
		checkSentence(t, c.content, err.Error(), c.want)
	}
	_, _, err := configureFrom(t, nil, "--config-file", "/no/such/file")
	if err == nil || err.Error() != "--config-file /no/such/file cannot be read: no such file or directory" {
		t.Error(err)
	}
}

func TestEmptyConfigFile(t *testing.T) {
	c, _, err := configureFrom(t, nil, "--config-file", writeFile(t, "# nothing\n"))
	if err != nil || c.Node.Name != "default" {
		t.Error(c, err)
	}
}

// Goal: no file makes us panic.
func FuzzConfigFile(f *testing.F) {
	f.Add("name: a\nlog-outputs: [x, y]\npeer-transport-security: {cert-file: &a x}\nlogger: *a\n")
	f.Add("a: &a [*a]")
	f.Fuzz(func(t *testing.T, content string) {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Skip()
		}
		_, _, _ = configureFrom(t, nil, "--config-file", path)
	})
}
