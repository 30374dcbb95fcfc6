package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/quorate/quorate/api/quorate/v1"
)

// nodeJSON is a node as -o json shows it. Ids are text as in keyspaceJSON.
type nodeJSON struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"` // empty: it has none yet
	PeerURLs    []string `json:"peer_urls"`
	ClientURLs  []string `json:"client_urls"`
	Zone        string   `json:"zone"`
	Weight      uint32   `json:"weight"`
	State       string   `json:"state"` // active, draining or removing
	Started     bool     `json:"started"`
	Incarnation uint32   `json:"incarnation"`
	Silent      bool     `json:"silent"`
	Dead        bool     `json:"dead"`
	Replicas    uint32   `json:"replicas"`
	Cap         uint32   `json:"cap"`
	Leaders     uint32   `json:"leaders"`
	LeadersCap  uint32   `json:"leaders_cap"`
	Share       float64  `json:"share"` // of replicas
	Requests    uint64   `json:"requests_per_second"`
	Bytes       uint64   `json:"bytes_per_second"`
	CPU         float64  `json:"cpu_cores"`
}

func jsonOfNode(n *quoratev1.Node) nodeJSON {
	return nodeJSON{
		ID: idText(n.GetId()), Name: n.GetName(), PeerURLs: append([]string{}, n.GetPeerUrls()...), ClientURLs: append([]string{}, n.GetClientUrls()...),
		Zone: n.GetZone(), Weight: n.GetWeight(), State: nodeIntentText(n), Started: n.GetStarted(), Incarnation: n.GetIncarnation(),
		Silent: n.GetSilent(), Dead: n.GetDead(), Replicas: n.GetReplicas(), Cap: n.GetCap(),
		Leaders: n.GetLeaders(), LeadersCap: n.GetLeadersCap(), Share: n.GetShare(),
		Requests: n.GetRequestsPerSecond(), Bytes: n.GetBytesPerSecond(), CPU: float64(n.GetCpuThousandths()) / 1000,
	}
}

func jsonOfNodes(nodes []*quoratev1.Node) []nodeJSON {
	all := make([]nodeJSON, len(nodes))
	for i, n := range nodes {
		all[i] = jsonOfNode(n)
	}
	return all
}

// printNodes prints a table.
func printNodes(p *process, f *clusterFlags, nodes []*quoratev1.Node) error {
	if f.json() {
		return writeJSON(p, map[string]any{"nodes": jsonOfNodes(nodes)})
	}
	return nodesTable(p.stdout, nodes)
}

func nodesTable(out io.Writer, nodes []*quoratev1.Node) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tNAME\tSTATE\tZONE\tWEIGHT\tREPLICAS\tLEADERS\tREQUESTS/S\tCPU\tCLIENTS")
	for _, n := range nodes {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d/%d\t%d/%d\t%d\t%.0f %%\t%s\n", idText(n.GetId()), cmp.Or(n.GetName(), "-"), nodeStateText(n), cmp.Or(n.GetZone(), "-"), n.GetWeight(),
			n.GetReplicas(), n.GetCap(), n.GetLeaders(), n.GetLeadersCap(), n.GetRequestsPerSecond(), float64(n.GetCpuThousandths())/10, cmp.Or(strings.Join(n.GetClientUrls(), ","), "-"))
	}
	return w.Flush()
}

// printNodeChange prints what was done: the new record, or a line.
func printNodeChange(p *process, f *clusterFlags, n *quoratev1.Node, line string) error {
	return printChange(p, f, jsonOfNode(n), line)
}

// nodeText is how people call a node.
func nodeText(n *quoratev1.Node) string { return cmp.Or(n.GetName(), idText(n.GetId())) }

// nodeIntentText is what is to become of a node.
func nodeIntentText(n *quoratev1.Node) string {
	switch n.GetState() {
	case quoratev1.Node_ACTIVE:
		return "active"
	case quoratev1.Node_DRAINING:
		return "draining"
	case quoratev1.Node_REMOVING:
		return "removing"
	}
	return "unknown"
}

// nodeStateText is that, and how the node is.
func nodeStateText(n *quoratev1.Node) string {
	state := nodeIntentText(n)
	switch {
	case !n.GetStarted():
		state += ",not-started"
	case n.GetDead():
		state += ",dead"
	case n.GetSilent():
		state += ",silent"
	}
	return state
}

// leavesText says what a node that is to be emptied still carries.
func leavesText(n *quoratev1.Node) string {
	if n.GetReplicas() == 0 {
		return "it carries nothing"
	}
	return fmt.Sprintf("%s to move, 'quorate node list' shows how many are left", replicasCount(n.GetReplicas()))
}

func replicasCount(n uint32) string {
	if n == 1 {
		return "1 replica"
	}
	return fmt.Sprintf("%d replicas", n)
}
