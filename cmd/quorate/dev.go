package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/quorate/quorate/internal/env"
	"github.com/quorate/quorate/internal/node"
	"github.com/quorate/quorate/internal/placement"
)

const (
	devHost = "127.0.0.1"
	// devPortStep is the distance between the ports of two nodes.
	devPortStep = 10
	flagZones   = "zones"
	// devNodesMax is what shows placement at work; more only slow each other down.
	devNodesMax = 12
	// devRestartDelay leaves time to see what the others do without the dead node.
	devRestartDelay = 5 * time.Second
	// devReplaceAfter lets placement heal before the dead node is back.
	devReplaceAfter = 2 * time.Second
	devStartTimeout = 30 * time.Second
	// devStopTimeout is longer than what the nodes are told, so that force is the exception.
	devShutdownTimeout = 5 * time.Second
	devStopTimeout     = 8 * time.Second
	devProbeTimeout    = time.Second
)

// newDev builds `dev`: a cluster on this machine, to play with.
func newDev(p *process) *cobra.Command {
	flags := make(map[string]*flagValue)
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a cluster on this machine, to play with",
		Long: `Run a cluster of real processes on this machine's loopback address. Node i (from 0) serves
clients on PORT+10·i and its peers on the port after that.

Kill a node to see what the others do: its replicas are placed anew after 2 seconds, if there are
nodes for them. dev starts it again after 5 seconds, later each time it dies before it is ready. All nodes end with dev, however dev ends.

The data is in a temporary folder, named at the start and removed at the end, unless
--data-dir names one to keep. QUORATE_ and ETCD_ variables do not count here.

` + enginesText(),
		Example: `  quorate dev
  quorate dev --nodes 5 --port 4000
  quorate dev --engine paxos --nodes 5 --write-quorum 2
  quorate dev --nodes 6 --zones 3           zones z1 to z3, two nodes in each
  quorate dev --keyspaces team-a,team-b     two more etcds, each with ports of its own
  quorate dev --data-dir ./quorate-dev      keeps the data for the next time
  quorate dev -o json                       pids and endpoints for scripts`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := newDevCluster(flags, cmd.Flags().Changed)
			if err != nil {
				return err
			}
			return d.run(cmd.Context(), p)
		},
	}
	for _, spec := range append([]flagSpec{
		{name: "nodes", kind: natural, preset: "3", note: "number of nodes"},
		{name: flagZones, kind: natural, preset: "0", note: "zones that the nodes are in, in turns, named z1, z2 and so on; 0 is none"},
		{name: "port", kind: natural, preset: "2379", note: "client port of the first node"},
		{name: "data-dir", note: "folder to keep the data in (default a temporary one)"},
		{name: "keyspaces", note: "keyspaces to make, separated by commas; each node serves the first on the port after its peers', and so on"},
	}, engineFlags()...) {
		flags[spec.name] = addDevFlag(cmd.Flags(), &spec)
		spec.complete(cmd)
	}
	flags["output"] = addOutputFlag(cmd)
	return cmd
}

func addDevFlag(flags *pflag.FlagSet, spec *flagSpec) *flagValue {
	value := &flagValue{spec: spec, text: spec.preset}
	flags.Var(value, spec.name, spec.note)
	return value
}

// devCluster is one run of `dev`.
type devCluster struct {
	nodes   []*devNode
	port    int
	dataDir string
	// temporary is true if dataDir is ours to remove.
	temporary bool
	engine    string // empty: what the folder was made with, or the default
	// writeQuorum is how many nodes decide; zero: as engine.
	writeQuorum int
	keyspaces   []string // beside default
	zones       int      // that the nodes are in, in turns; zero: none, or as engine
	json        bool
}

// devNode is one node of it.
type devNode struct {
	Name      string `json:"name"`
	PID       int    `json:"pid"`
	ClientURL string `json:"client_url"`
	PeerURL   string `json:"peer_url"`
	DataDir   string `json:"data_dir"`
	Log       string `json:"log"`
}

func newDevCluster(flags map[string]*flagValue, given func(flag string) bool) (*devCluster, error) {
	number := func(name string) int {
		n, _ := strconv.ParseInt(flags[name].text, 0, 64) // checked when it was set
		return int(n)
	}
	count := number("nodes")
	keyspaces, err := devKeyspaces(flags["keyspaces"].text)
	if err != nil {
		return nil, err
	}
	d := &devCluster{
		keyspaces:   keyspaces,
		zones:       number(flagZones),
		port:        number("port"),
		dataDir:     flags["data-dir"].text,
		writeQuorum: number(flagWriteQuorum),
		json:        flags["output"].text == formatJSON,
	}
	if given(flagEngine) {
		d.engine = flags[flagEngine].text
	}
	if count < 1 || count > devNodesMax {
		return nil, fmt.Errorf("--nodes is %d: it must be between 1 and %d", count, devNodesMax)
	}
	if d.zones > count {
		return nil, fmt.Errorf("--%s is %d: with %d nodes it must be between 1 and %[3]d, or 0 for none", flagZones, d.zones, count)
	}
	last := d.port + devPortStep*(count-1) + 1 + len(keyspaces)
	if d.port < 1 || last > 65535 {
		return nil, fmt.Errorf("--port %d leaves no ports for %d nodes: choose one between 1 and %d", d.port, count, 65535-(last-d.port))
	}
	for i := range count {
		port := d.port + devPortStep*i
		d.nodes = append(d.nodes, &devNode{
			Name:      fmt.Sprintf("node%d", i+1),
			ClientURL: fmt.Sprintf("http://%s:%d", devHost, port),
			PeerURL:   fmt.Sprintf("http://%s:%d", devHost, port+1),
		})
	}
	return d, nil
}

// run prepares the ground, runs the nodes, and cleans up behind them.
func (d *devCluster) run(ctx context.Context, p *process) (err error) {
	if err := d.checkPorts(ctx, env.TCP()); err != nil {
		return err
	}
	if err := d.prepareDir(); err != nil {
		return err
	}
	defer func() {
		if d.temporary && err == nil { // after an error the logs are worth reading
			err = os.RemoveAll(d.dataDir)
		}
	}()
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("dev cannot find its own program to start the nodes with: %w", err)
	}
	stop, release := p.untilStopped(ctx, terminalGone())
	defer release()
	began := time.Now()
	f := newFleet(fleetConfig{
		Nodes: d.nodes,
		Command: func(n *devNode) *exec.Cmd {
			cmd := exec.Command(binary, d.arguments(n)...)
			cmd.Env = withoutOurVariables(p.environ)
			return cmd
		},
		RestartDelay: devRestartDelay,
		StartTimeout: devStartTimeout,
		StopTimeout:  devStopTimeout,
		Report: func(format string, args ...any) {
			fmt.Fprintf(p.stderr, "dev: "+format+"\n", args...)
		},
	})
	return f.run(stop, func() {
		if err := d.createKeyspaces(stop, p); err != nil {
			fmt.Fprintf(p.stderr, "dev: %v\n", err)
		}
		d.announce(p, time.Since(began))
	})
}

// terminalGone delivers when the terminal is closed; the temporary folder would stay
// otherwise.
func terminalGone() <-chan string {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	why := make(chan string, 1)
	go func() {
		<-hangup
		why <- "the terminal is gone"
	}()
	return why
}

// checkPorts finds out that a port is taken before anything is started.
func (d *devCluster) checkPorts(ctx context.Context, network env.Network) error {
	for node, n := range d.nodes {
		urls := []string{n.ClientURL, n.PeerURL}
		for i := range d.keyspaces {
			urls = append(urls, d.keyspaceURL(node, i))
		}
		for _, u := range urls {
			l, err := network.Listen(ctx, address(u))
			if errors.Is(err, syscall.EADDRINUSE) {
				return fmt.Errorf("%s needs %s, which is in use: stop the other process or choose other ports with --port", n.Name, address(u))
			}
			if err != nil {
				return fmt.Errorf("%s cannot listen on %s: %w", n.Name, address(u), err)
			}
			l.Close()
		}
	}
	return nil
}

// arguments is the command line of one node.
func (d *devCluster) arguments(n *devNode) []string {
	members := make([]string, len(d.nodes))
	for i, m := range d.nodes {
		members[i] = m.Name + "=" + m.PeerURL
	}
	arguments := []string{
		"serve",
		"--name", n.Name,
		"--data-dir", n.DataDir,
		"--listen-client-urls", n.ClientURL,
		"--advertise-client-urls", n.ClientURL,
		"--listen-peer-urls", n.PeerURL,
		"--initial-advertise-peer-urls", n.PeerURL,
		"--initial-cluster", strings.Join(members, ","),
		"--initial-cluster-token", "quorate-dev",
		"--engine", d.engine,
		"--" + flagReplaceAfter, devReplaceAfter.String(),
		"--log-format", formatConsole,
		"--shutdown-timeout", devShutdownTimeout.String(),
		"--" + flagSupervised,
	}
	if d.writeQuorum != 0 {
		arguments = append(arguments, "--"+flagWriteQuorum, strconv.Itoa(d.writeQuorum))
	}
	if d.zones != 0 {
		arguments = append(arguments, "--"+flagZone, d.zone(n))
	}
	return append(arguments, d.listenFlags(n)...)
}

// zone is the one that a node is in.
func (d *devCluster) zone(n *devNode) string {
	return fmt.Sprintf("z%d", slices.Index(d.nodes, n)%d.zones+1)
}

func (d *devCluster) endpoints() string {
	all := make([]string, len(d.nodes))
	for i, n := range d.nodes {
		all[i] = address(n.ClientURL)
	}
	return strings.Join(all, ",")
}

// announce says what runs and what to try.
func (d *devCluster) announce(p *process, took time.Duration) {
	if d.json {
		_ = writeJSON(p, map[string]any{
			"nodes":     d.nodes,
			"endpoints": strings.Split(d.endpoints(), ","),
			"data_dir":  d.dataDir,
			"engine":    d.engine,
			// As --write-quorum says it: 0 is a majority.
			"write_quorum": d.writeQuorum,
			"keyspaces":    d.keyspaces,
			"zones":        d.zones,
		})
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d nodes are ready after %.1f s.\n\n", len(d.nodes), took.Seconds())
	for _, n := range d.nodes {
		fmt.Fprintf(&b, "  %-6s pid %-7d clients %-22s log %s\n", n.Name, n.PID, n.ClientURL, n.Log)
	}
	fmt.Fprintf(&b, "\nThe engine is %s", d.engine)
	if warning := node.QuorumWarning(d.writeQuorum, placement.OwnReplicas(len(d.nodes))); warning != "" {
		b.WriteString("; " + warning)
	}
	fmt.Fprintf(&b, ".\nThe data is in %s", d.dataDir)
	if d.temporary {
		b.WriteString(" and goes when dev ends; --data-dir keeps it")
	}
	b.WriteString(".\n")
	if d.zones != 0 {
		fmt.Fprintf(&b, "The nodes are in zones z1 to z%d, in turns.\n", d.zones)
	}
	d.announceKeyspaces(&b)
	fmt.Fprintf(&b, "\nTry in another terminal:\n\n  export ETCDCTL_ENDPOINTS=%s\n", d.endpoints())
	b.WriteString("  etcdctl put greeting hello\n  etcdctl get greeting\n  etcdctl watch greeting\n  etcdctl endpoint status -w table\n")
	fmt.Fprintf(&b, "  kill -9 %-9d # %s dies and is back after %d s\n", d.nodes[0].PID, d.nodes[0].Name, int(devRestartDelay.Seconds()))
	b.WriteString("\nCtrl-C stops all nodes.\n")
	fmt.Fprint(p.stdout, b.String())
}

// nodePaths fills in where a node keeps what.
func (d *devCluster) nodePaths() {
	for _, n := range d.nodes {
		n.DataDir = filepath.Join(d.dataDir, n.Name)
		n.Log = filepath.Join(d.dataDir, n.Name+".log")
	}
}
