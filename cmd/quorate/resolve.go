package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quorate/quorate/internal/placement"
)

const (
	stateNew      = "new"
	stateExisting = "existing"

	modePeriodic = "periodic"
	modeRevision = "revision"

	// quotaBytesDefault is etcd's.
	quotaBytesDefault = 2 << 30
	// requestBytesMax is the largest --max-request-bytes. etcd warns above it, and here a
	// request must fit into one frame between peers.
	requestBytesMax = 10 << 20
	// txnOpsMax is the largest --max-txn-ops: a transaction is applied in one step,
	// during which the shard answers nobody else.
	txnOpsMax = 1 << 20
	// heartbeatMillisMin: a shorter one costs more than it finds out.
	heartbeatMillisMin = 10
	// electionMillisMax is etcd's: longer timeouts hide failures from their users.
	electionMillisMax = 50_000
	// nameBytesMax keeps names fit for log lines, metrics and folders.
	nameBytesMax = 256
	// domainBytesMax leaves room for a keyspace's label and its dot in a host name, which
	// has 253 bytes.
	domainBytesMax = 253 - placement.NameBytesMax - 1
)

// resolve gives the settings their meaning.
func resolve(s *settings) (*serveConfig, error) {
	if err := s.refuse(); err != nil {
		return nil, err
	}
	c := &serveConfig{
		ShutdownTimeout: s.duration("shutdown-timeout"),
		Supervised:      s.boolean(flagSupervised),
	}
	if c.ShutdownTimeout <= 0 {
		return nil, fmt.Errorf("%s must be longer than 0s", s.where("shutdown-timeout"))
	}
	var err error
	if c.Log, err = resolveLog(s); err != nil {
		return nil, err
	}
	for _, step := range []func(*settings, *Config) error{
		resolveIdentity, resolveURLs, resolveTLS, resolveBootstrap, resolvePlacement, resolveLimits, resolveTiming, resolveCompaction, resolveClients,
	} {
		if err := step(s, &c.Node); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func resolveIdentity(s *settings, c *Config) error {
	c.Name = s.text("name")
	switch {
	case c.Name == "":
		return fmt.Errorf("%s is empty: give this member a name", s.where("name"))
	case strings.ContainsAny(c.Name, "=,"):
		return fmt.Errorf("%s %q contains '=' or ',', which --initial-cluster cannot hold: use another name", s.where("name"), c.Name)
	case len(c.Name) > nameBytesMax:
		return fmt.Errorf("%s is longer than %d bytes: use a shorter name", s.where("name"), nameBytesMax)
	}
	if s.given(flagEngine) { // the default must not contradict what a directory has recorded
		c.Engine = s.text(flagEngine)
	}
	c.WriteQuorum = int(s.integer(flagWriteQuorum))
	c.Pprof = s.boolean("enable-pprof")
	c.WALDir = s.text("wal-dir")
	c.DataDir = s.text("data-dir")
	if c.DataDir != "" {
		return nil
	}
	if strings.ContainsAny(c.Name, `/\`) {
		return fmt.Errorf("%s %q cannot name the data directory: add --data-dir", s.where("name"), c.Name)
	}
	c.DataDir = c.Name + ".etcd"
	return nil
}

func resolveURLs(s *settings, c *Config) error {
	var metrics, http []string
	for _, f := range []struct {
		name  string
		into  *[]string
		check func([]string) error
	}{
		{"listen-client-urls", &c.ListenClientURLs, checkListen},
		{"listen-peer-urls", &c.ListenPeerURLs, checkPeerListen},
		{"advertise-client-urls", &c.AdvertiseClientURLs, checkAdvertise},
		{"initial-advertise-peer-urls", &c.AdvertisePeerURLs, checkPeerAdvertise},
		{"listen-metrics-urls", &metrics, checkListen},
		{"listen-client-http-urls", &http, checkListen},
	} {
		urls, err := parseURLs(s.list(f.name))
		if err != nil {
			return fmt.Errorf("%s: %w", s.where(f.name), err)
		}
		if len(urls) == 0 && s.table[f.name].preset != "" {
			return fmt.Errorf("%s is empty: write http://HOST:PORT", s.where(f.name))
		}
		if err := f.check(urls); err != nil {
			return fmt.Errorf("%s: %w", s.where(f.name), err)
		}
		*f.into = urls
	}
	c.ListenHTTPURLs = append(metrics, http...)
	doubtUnspecified(s, "advertise-client-urls", c.AdvertiseClientURLs)
	doubtUnspecified(s, "initial-advertise-peer-urls", c.AdvertisePeerURLs)
	if s.given("listen-client-urls") && !s.given("advertise-client-urls") {
		if !s.fromFile { // etcd's own exception
			return fmt.Errorf("--listen-client-urls needs --advertise-client-urls beside it: say where clients find this member")
		}
		s.doubt("advertise-client-urls", "is not in the file: clients are told %s", strings.Join(c.AdvertiseClientURLs, ","))
	}
	ports, err := resolvePorts(s, c)
	if err != nil {
		return err
	}
	return checkDistinct([]listenFlag{
		{"listen-client-urls", c.ListenClientURLs}, {"listen-peer-urls", c.ListenPeerURLs},
		{"listen-metrics-urls", metrics}, {"listen-client-http-urls", http}, {flagListen, ports},
	})
}

type listenFlag struct {
	name string
	urls []string
}

// checkDistinct reports an address that two flags listen on.
func checkDistinct(flags []listenFlag) error {
	for i, a := range flags {
		for _, b := range flags[:i] {
			if u, ok := sameAddress(a.urls, b.urls); ok {
				return fmt.Errorf("--%s and --%s both have %s: give each a port of its own", b.name, a.name, u)
			}
		}
	}
	return nil
}

// doubtUnspecified warns of what etcd accepts and many a container file has.
func doubtUnspecified(s *settings, name string, urls []string) {
	if i := slices.IndexFunc(urls, isUnspecified); i >= 0 {
		s.doubt(name, "has %s, which other machines cannot dial", urls[i])
	}
}

func resolveBootstrap(s *settings, c *Config) error {
	c.Bootstrap.Existing = s.text("initial-cluster-state") == stateExisting
	c.Bootstrap.Token = s.text("initial-cluster-token")
	if c.Bootstrap.Token == "" {
		return fmt.Errorf("%s is empty: any text that differs between clusters will do", s.where("initial-cluster-token"))
	}
	members, err := parseCluster(s.list("initial-cluster"))
	if err != nil {
		return fmt.Errorf("%s: %w", s.where("initial-cluster"), err)
	}
	if len(members) == 0 {
		members = []Member{{Name: c.Name, PeerURLs: c.AdvertisePeerURLs}}
	}
	c.Bootstrap.Cluster = members
	return nil
}

// resolvePlacement reads whom this node joins, and what it is to carry there.
func resolvePlacement(s *settings, c *Config) error {
	var err error
	if c.Join, err = parseURLs(s.list(flagJoin)); err == nil {
		err = checkAdvertise(c.Join)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.where(flagJoin), err)
	}
	own, joinsItself := sameAddress(c.Join, c.AdvertiseClientURLs)
	switch {
	case joinsItself:
		return fmt.Errorf("%s has %s, where this node is itself: name nodes of the running cluster", s.where(flagJoin), own)
	case len(c.Join) > 0 && s.given("initial-cluster"):
		return fmt.Errorf("%s joins a running cluster, and %s lists one to found: leave one of them out", s.where(flagJoin), s.where("initial-cluster"))
	case len(c.Join) > 0 && c.WriteQuorum != 0:
		return fmt.Errorf("%s is chosen when a cluster is founded, and %s joins one: leave it out", s.where(flagWriteQuorum), s.where(flagJoin))
	}
	c.Zone = s.text(flagZone)
	if err := placement.CheckZone(c.Zone); err != nil {
		return fmt.Errorf("%s: %w", s.where(flagZone), err)
	}
	if s.given(flagWeight) { // the default must not undo a weight that was changed later
		c.Weight = int(s.integer(flagWeight))
		if err := placement.CheckWeight(c.Weight); err != nil {
			return fmt.Errorf("%s: %w", s.where(flagWeight), err)
		}
	}
	if c.ReplaceAfter = s.duration(flagReplaceAfter); c.ReplaceAfter < 0 {
		return fmt.Errorf("%s is %v: it must not be negative", s.where(flagReplaceAfter), c.ReplaceAfter)
	}
	return nil
}

func resolveLimits(s *settings, c *Config) error {
	c.QuotaBytes = s.integer("quota-backend-bytes")
	switch {
	case c.QuotaBytes == 0:
		c.QuotaBytes = quotaBytesDefault
	case c.QuotaBytes < 0:
		c.QuotaBytes = 0
	}
	for _, f := range []struct {
		name string
		most int64
		into *int
	}{
		{"max-request-bytes", requestBytesMax, &c.RequestBytesMax},
		{"max-txn-ops", txnOpsMax, &c.TxnOpsMax},
	} {
		n := s.integer(f.name)
		if n < 1 || n > f.most {
			return fmt.Errorf("%s is %d: it must be between 1 and %d", s.where(f.name), n, f.most)
		}
		*f.into = int(n)
	}
	count := s.integer("snapshot-count")
	if count < 0 {
		return fmt.Errorf("%s is %d: it must be 1 or more", s.where("snapshot-count"), count)
	}
	if count == 0 { // etcd reads 0 as "the default"
		count, _ = strconv.ParseInt(s.table["snapshot-count"].preset, 10, 64)
	}
	c.SnapshotCount = uint64(count)
	return nil
}

func resolveTiming(s *settings, c *Config) error {
	heartbeat, election := s.integer("heartbeat-interval"), s.integer("election-timeout")
	switch {
	case heartbeat < heartbeatMillisMin:
		return fmt.Errorf("%s is %d ms: it must be %d ms or more", s.where("heartbeat-interval"), heartbeat, heartbeatMillisMin)
	case election > electionMillisMax:
		return fmt.Errorf("%s is %d ms: it must be %d ms or less", s.where("election-timeout"), election, electionMillisMax)
	case election < 5*heartbeat:
		return fmt.Errorf("%s is %d ms: it must be at least five times --heartbeat-interval, which is %d ms",
			s.where("election-timeout"), election, heartbeat)
	}
	c.Heartbeat = time.Duration(heartbeat) * time.Millisecond
	c.Election = time.Duration(election) * time.Millisecond
	return nil
}

func resolveCompaction(s *settings, c *Config) error {
	raw := s.text("auto-compaction-retention")
	var err error
	if s.text("auto-compaction-mode") == modeRevision {
		c.Compaction.Revisions, err = parseRevisions(raw)
	} else {
		c.Compaction.Period, err = parsePeriod(raw)
	}
	if err != nil {
		return fmt.Errorf("%s is %q: %w", s.where("auto-compaction-retention"), raw, err)
	}
	return nil
}

func parseRevisions(raw string) (int64, error) {
	n, err := strconv.ParseInt(raw, 10, 64)
	if err != nil || n < 0 {
		return 0, errors.New("with --auto-compaction-mode revision it must be a number of revisions, 0 or more")
	}
	return n, nil
}

// parsePeriod reads a duration; a number alone counts hours.
func parsePeriod(raw string) (time.Duration, error) {
	const hoursMax = int64(1<<63-1) / int64(time.Hour)
	if hours, err := strconv.ParseInt(raw, 10, 64); err == nil && hours >= 0 && hours <= hoursMax {
		return time.Duration(hours) * time.Hour, nil
	}
	d, err := time.ParseDuration(raw)
	if err != nil || d < 0 {
		return 0, errors.New("with --auto-compaction-mode periodic it must be hours or a duration such as 30m, 0 or more")
	}
	return d, nil
}

func resolveClients(s *settings, c *Config) error {
	c.Clients.StreamsMax = uint32(s.integer("max-concurrent-streams"))
	if c.Clients.StreamsMax == 0 { // etcd's 0 is no limit
		c.Clients.StreamsMax = math.MaxUint32
	}
	for _, f := range []struct {
		name string
		into *time.Duration
	}{
		{"watch-progress-notify-interval", &c.Clients.ProgressInterval},
		{"grpc-keepalive-min-time", &c.Clients.PingMin},
		{"grpc-keepalive-interval", &c.Clients.PingInterval},
		{"grpc-keepalive-timeout", &c.Clients.PingTimeout},
	} {
		if *f.into = s.duration(f.name); *f.into < 0 {
			return fmt.Errorf("%s is %v: it must not be negative", s.where(f.name), *f.into)
		}
	}
	if err := resolveDomain(s, &c.Clients); err != nil {
		return err
	}
	if c.Clients.ProgressInterval == 0 { // etcd reads 0 as "the default"
		c.Clients.ProgressInterval, _ = time.ParseDuration(s.table["watch-progress-notify-interval"].preset)
	}
	return nil
}

// resolveDomain reads a domain as people write it: in any case, perhaps with a dot at the end.
func resolveDomain(s *settings, c *Clients) error {
	raw := s.text(flagKeyspaceDomain)
	if raw == "" {
		return nil
	}
	domain := strings.ToLower(strings.TrimSuffix(raw, "."))
	for label := range strings.SplitSeq(domain, ".") {
		if !isLabel(label) {
			return fmt.Errorf("%s is %q: write a domain such as etcd.example.com, without port and wildcard", s.where(flagKeyspaceDomain), raw)
		}
	}
	if len(domain) > domainBytesMax {
		return fmt.Errorf("%s has %d bytes: with a keyspace's name in front it is no host name any more, use up to %d",
			s.where(flagKeyspaceDomain), len(domain), domainBytesMax)
	}
	c.KeyspaceDomain = domain
	return nil
}

// isLabel reports whether a part of a domain, lower case, can be in DNS. A keyspace's name is
// one, and the rules are the same.
func isLabel(label string) bool { return placement.CheckName(label) == nil }
