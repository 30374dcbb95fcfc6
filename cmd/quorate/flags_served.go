package main

// servedFlags are those of etcd's flags that work as in etcd.
var servedFlags = []flagSpec{
	{name: "name", preset: "default", note: "this member's name, unique in the cluster"},
	{name: "data-dir", note: "folder of everything durable (default NAME.etcd)"},
	{name: "wal-dir", note: "folder of the log, for a disk of its own (default inside --data-dir)"},
	{name: "listen-client-urls", preset: "http://localhost:2379", note: "where clients are served, separated by commas"},
	{name: "advertise-client-urls", preset: "http://localhost:2379", note: "where clients are told to find this member"},
	{name: "cert-file", note: "certificate in PEM for https URLs; read again when it changes"},
	{name: "key-file", note: "its key in PEM"},
	{name: "client-cert-auth", kind: boolean, preset: "false", note: "serve https to clients with a certificate of --trusted-ca-file alone, as that flag does by itself"},
	{name: "trusted-ca-file", note: "authorities in PEM that vouch for clients, which then need a certificate, and for https URLs of other members"},
	{name: "client-cert-file", note: "certificate in PEM that is shown to other members in place of --cert-file"},
	{name: "client-key-file", note: "its key in PEM"},
	{name: "cipher-suites", note: "suites of TLS 1.2 by Go's names, separated by commas (default Go's choice)"},
	{name: "tls-min-version", preset: "TLS1.2", choices: []string{"TLS1.2", "TLS1.3"}, note: "oldest version of TLS that is served"},
	{name: "tls-max-version", choices: []string{"TLS1.2", "TLS1.3"}, note: "newest one (default no bound)"},
	{name: "listen-metrics-urls", note: "where metrics and health are served too, without the rest"},
	{name: "listen-client-http-urls", note: "the same; --listen-client-urls goes on serving HTTP"},
	{name: "listen-peer-urls", preset: "http://localhost:2380", note: "where the other members are served"},
	{name: "initial-advertise-peer-urls", preset: "http://localhost:2380", note: "where the other members find this one"},
	{name: "initial-cluster", note: "all members of a new cluster as NAME=URL,... (default this one alone)"},
	{name: "initial-cluster-state", preset: stateNew, choices: []string{stateNew, stateExisting},
		note: "new to found a cluster, existing to join one"},
	{name: "initial-cluster-token", preset: "etcd-cluster", note: "text that differs between clusters, so that they never mix"},
	{name: "heartbeat-interval", kind: natural, preset: "100", note: "milliseconds between a leader's heartbeats"},
	{name: "election-timeout", kind: natural, preset: "1000", note: "milliseconds without a leader before an election"},
	{name: "snapshot-count", kind: integer, preset: "10000", note: "entries that a slow member may lag before it needs a snapshot"},
	{name: "quota-backend-bytes", kind: integer, preset: "0", note: "bytes of data before writes are rejected; 0 is 2 GiB, negative is no quota"},
	{name: "max-request-bytes", kind: natural, preset: "1572864", note: "largest request of a client"},
	{name: "max-txn-ops", kind: natural, preset: "128", note: "operations in one transaction"},
	{name: "max-concurrent-streams", kind: natural, preset: "1024", note: "calls that one connection may have open; others wait"},
	{name: "watch-progress-notify-interval", kind: duration, preset: "10m", note: "how often watches that ask for it hear of progress"},
	{name: "grpc-keepalive-min-time", kind: duration, preset: "5s", note: "shortest interval of a client's pings; 0s allows any"},
	{name: "grpc-keepalive-interval", kind: duration, preset: "2h", note: "interval of our pings to idle clients; 0s sends none"},
	{name: "grpc-keepalive-timeout", kind: duration, preset: "20s", note: "how long a client may take to answer one; 0s sends none"},
	{name: "auto-compaction-mode", preset: modePeriodic, choices: []string{modePeriodic, modeRevision},
		note: "what --auto-compaction-retention counts"},
	{name: "auto-compaction-retention", preset: "0", note: "history to keep: hours or a duration, or revisions; 0 keeps all"},
	{name: "enable-pprof", kind: boolean, preset: "false", note: "serve Go's profiles under /debug/pprof/ to clients"},
	{name: "logger", preset: "zap", choices: []string{"zap"}, note: "kept for etcd's sake"},
	{name: "log-level", preset: "info", choices: logLevelNames, note: "least level that is written"},
	{name: "log-format", preset: formatJSON, choices: []string{formatJSON, formatConsole}, note: "one JSON object per line, or text"},
	{name: "log-outputs", preset: "default", note: "default, stderr, stdout or files, separated by commas; SIGHUP reopens files"},
	{name: flagConfigFile, note: "YAML file with etcd's keys; other flags and variables then do not count"},
	{name: flagVersion, kind: boolean, preset: "false", note: "print the version and end"},
}

const (
	flagConfigFile = "config-file"
	flagVersion    = "version"
	flagSupervised = "supervised"

	flagKeyspaceDomain = "keyspace-domain"
	flagListen         = "listen"
	flagJoin           = "join"
	flagZone           = "zone"
	flagWeight         = "weight"
	flagReplaceAfter   = "replace-after"
)

// ownFlags are not etcd's.
var ownFlags = append(engineFlags(), []flagSpec{
	{name: flagKeyspaceDomain, note: "domain below which a host name chooses the keyspace: with example.com, clients of a.example.com get a"},
	{name: flagListen, repeats: true, note: "ports that serve one keyspace each to clients that know of none, as NAME=URL,...; may be repeated"},
	{name: flagJoin, repeats: true, note: "client URLs of running nodes whose cluster this one joins, separated by commas; counts until --data-dir has state"},
	{name: flagZone, note: "what fails together with this node, as in eu-1 or eu-1/rack-7; replicas of a keyspace go to different ones"},
	{name: flagWeight, kind: natural, preset: "1", note: "this node's share of the load beside others' when it joins; later 'quorate node weight' changes it"},
	{name: flagReplaceAfter, kind: duration, preset: "5m", note: "how long a node may be silent before its replicas are placed anew; 0s is at once"},
	{name: "shutdown-timeout", kind: duration, preset: "10s", note: "longest time between SIGTERM and the end"},
	{name: flagSupervised, kind: boolean, preset: "false", note: "print \"ready\" when it is, and stop when standard input ends"},
}...)
