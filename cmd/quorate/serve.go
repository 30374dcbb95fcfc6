package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/quorate/quorate/internal/env"
)

// newServe builds `serve`: one node, with etcd's flags.
func newServe(p *process) *cobra.Command {
	table := newFlagTable()
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run one node, with etcd's flags",
		Long: `Run one node. Without flags it is a cluster of its own on etcd's default ports.

Every flag of etcd 3.7 is known, with one dash or two; 'quorate help etcd-flags' says what
becomes of each. Every flag X-Y has the variables QUORATE_X_Y and ETCD_X_Y. A flag wins over
QUORATE_, QUORATE_ wins over ETCD_; with --config-file only the file counts.

` + enginesText() + `

Ports of --listen serve one keyspace each, as if it were the only one: etcdctl and every other
client of etcd work there unchanged. The keyspace need not exist yet.

https:// URLs for clients take --cert-file and --key-file; with --trusted-ca-file clients need a
certificate too, and one with the URI quorate://keyspace/NAME is for that keyspace alone. Files
that change are used from the next connection on. Other members and --join are dialled with
the same files. Peers do not speak TLS yet.

--join makes this machine a node of a running cluster, with the token of --initial-cluster-token;
its share of replicas comes by itself. With the addresses of a node that has lost its disk it
takes that one's place.

SIGTERM and Ctrl-C hand the leadership over, let running requests end, and stop; a second
one ends the process at once. SIGHUP reopens log files.

Exit codes: 0 stopped on request, 1 failed, 2 unreadable command line, 128+n ended by signal n.`,
		Example: `  quorate serve
  quorate serve --name a --data-dir /var/lib/quorate \
    --listen-client-urls http://10.0.0.1:2379 --advertise-client-urls http://10.0.0.1:2379 \
    --listen-peer-urls http://10.0.0.1:2380 --initial-advertise-peer-urls http://10.0.0.1:2380 \
    --initial-cluster a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380
  quorate serve --name d --data-dir /var/lib/quorate --join http://10.0.0.1:2379 --zone eu-2 \
    --listen-client-urls http://10.0.0.4:2379 --advertise-client-urls http://10.0.0.4:2379 \
    --listen-peer-urls http://10.0.0.4:2380 --initial-advertise-peer-urls http://10.0.0.4:2380
  quorate serve --listen team-a=http://10.0.0.1:2479 --listen team-b=http://10.0.0.1:2579
  quorate serve --config-file /etc/quorate.yml`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Lookup(flagVersion).Value.(*flagValue).on() {
				return printEtcdVersion(p)
			}
			config, warnings, err := p.configure(table, cmd.Flags())
			if err != nil {
				return err
			}
			return p.serve(cmd.Context(), config, warnings)
		},
	}
	addFlags(cmd.Flags(), table)
	for _, spec := range table {
		spec.complete(cmd)
	}
	return cmd
}

// addFlags puts every flag on the command line. Help shows the ones that work.
func addFlags(flags *pflag.FlagSet, table flagTable) {
	for _, name := range table.names() {
		spec := table[name]
		f := flags.VarPF(&flagValue{spec: spec, text: spec.preset}, name, "", spec.note)
		f.Hidden = spec.status != served || name == flagSupervised
		if spec.kind == boolean {
			f.NoOptDefVal = "true"
		}
	}
}

// configure turns flags, variables and file into a checked configuration. The warnings
// are for the log, which is not open yet.
func (p *process) configure(table flagTable, flags *pflag.FlagSet) (*serveConfig, []string, error) {
	s := newSettings(table)
	var given []string
	flags.Visit(func(f *pflag.Flag) {
		if _, ok := table[f.Name]; ok {
			given = append(given, f.Name)
		}
	})
	for _, name := range given {
		if err := s.put(name, flags.Lookup(name).Value.String(), "--"+name); err != nil {
			return nil, nil, err
		}
	}
	variables := newEnvironment(p.environ)
	path := s.text(flagConfigFile)
	if _, value, ok := variables.lookup(flagConfigFile); ok && path == "" {
		path = value
	}
	var warnings []string
	var err error
	if path != "" {
		s, warnings, err = p.onlyFile(path, s, variables)
	} else {
		warnings, err = variables.apply(s)
	}
	if err != nil {
		return nil, nil, err
	}
	config, err := resolve(s)
	return config, slices.Concat(warnings, s.warnings()), err
}

// onlyFile reads the file and says what it makes ineffective.
func (p *process) onlyFile(path string, given *settings, variables environment) (*settings, []string, error) {
	s := newSettings(given.table)
	s.fromFile = true
	warnings, err := readConfigFile(env.OSFS(), path, s)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range given.names() {
		if !slices.Contains(notInFile, name) {
			warnings = append(warnings, "--"+name+" is ignored: --config-file was given")
			continue
		}
		s.set[name] = given.set[name]
	}
	for _, name := range given.table.names() {
		if variable, _, ok := variables.lookup(name); ok && name != flagConfigFile {
			warnings = append(warnings, variable+" is ignored: --config-file was given")
		}
	}
	return s, warnings, nil
}

// serve runs the node until it is asked to stop or fails.
func (p *process) serve(ctx context.Context, c *serveConfig, warnings []string) (err error) {
	if err := p.checkState(env.OSFS(), &c.Node); err != nil {
		return err
	}
	sink, err := openSink(c.Log.Outputs, p.stdout, p.stderr)
	if err != nil {
		return err
	}
	defer sink.close()
	log := slog.New(newLogHandler(sink, c.Log.Level, c.Log.Console))
	slog.SetDefault(log)
	defer func() {
		// Whoever reads only the log must see the reason too.
		if err != nil && !sink.onStderr {
			log.Error("stopped", "error", err.Error())
		}
	}()
	for _, w := range warnings {
		log.Warn(w)
	}
	logBanner(log, &c.Node)
	quietenCollector(p.environ)
	stopReopening := reopenOnHangup(sink, log)
	defer stopReopening()

	var stdin <-chan string
	if c.Supervised {
		stdin = p.stdinEnd()
	}
	stop, release := p.untilStopped(ctx, stdin)
	defer release()
	store, err := openTLS(env.OSFS(), &c.Node, log)
	if err != nil {
		return err
	}
	open, err := listen(stop, env.TCP(), &c.Node, store)
	if err != nil {
		return err
	}
	node, err := p.node.start(stop, &c.Node, open, log)
	switch {
	case err != nil && stop.Err() != nil:
		log.Info("stopped before the start was complete", "reason", context.Cause(stop).Error())
		return nil
	case err != nil:
		return err
	}
	return p.supervise(stop, node, c, log)
}

func logBanner(log *slog.Logger, c *Config) {
	b := readBuild()
	log.Info("starting a quorate node",
		"version", b.Version, "etcd-version", b.EtcdVersion, "commit", b.Commit, "go-version", b.GoVersion,
		"name", c.Name, "data-dir", c.DataDir,
		"listen-client-urls", c.ListenClientURLs, "advertise-client-urls", c.AdvertiseClientURLs,
		"listen-peer-urls", c.ListenPeerURLs, "initial-advertise-peer-urls", c.AdvertisePeerURLs, "join", c.Join, "zone", c.Zone,
		"heartbeat-interval", c.Heartbeat, "election-timeout", c.Election)
}

// checkState holds the configuration against what is on disk.
func (p *process) checkState(disk env.FS, c *Config) error {
	if err := checkDataDir(disk, c); err != nil {
		return err
	}
	if initialized, err := p.node.initialized(disk, c); err != nil || initialized {
		return err
	}
	return checkBootstrap(c)
}

// checkDataDir reports a folder that can only be a mistake. What is inside one of ours is
// the node's to judge.
func checkDataDir(disk env.FS, c *Config) error {
	info, err := disk.Stat(c.DataDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("--data-dir %s cannot be read: %w", c.DataDir, reason(err))
	case !info.IsDir():
		return fmt.Errorf("--data-dir %s is not a folder: choose another", c.DataDir)
	}
	for _, part := range []string{"snap", "wal"} {
		if _, err := disk.Stat(disk.PathJoin(c.DataDir, "member", part)); err == nil {
			return fmt.Errorf("--data-dir %s holds the data of an etcd, which Quorate cannot read: choose another, and copy the keys with 'etcdctl make-mirror'", c.DataDir)
		}
	}
	return nil
}

// reason strips the path from a file error: our sentence has it already.
func reason(err error) error {
	var onPath *fs.PathError
	if errors.As(err, &onPath) {
		return onPath.Err
	}
	return err
}
