package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/api/quorate/v1"
	"github.com/quorate/quorate/internal/placement"
)

// newNode builds `node`: the machines of a running cluster.
func newNode(p *process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "node",
		Short: "List, empty, weigh and remove the nodes of a running cluster",
		Long: `A node is a machine that carries replicas of keyspaces. 'quorate serve --join URL' adds one, and it
gets its share by itself; replicas of a node that dies are placed anew, see --replace-after there.

NODE is a node's id, as 'quorate node list' and etcdctl show it, or its name. The commands ask a
running node, any one. Changes are recorded at once; replicas move afterwards.

Exit codes: 0 done, 1 failed or refused, 2 unreadable command line.`,
		Example: `  quorate node list
  quorate node drain n3                     before work on its machine
  quorate node undrain n3
  quorate node weight n4 2                  twice the share of the others
  quorate node remove n3                    for good`,
	}
	return group(cmd, newNodeList(p), newNodeDrain(p), newNodeUndrain(p), newNodeWeight(p), newNodeRemove(p))
}

// oneNode is the argument of commands on one node.
func oneNode(cmd *cobra.Command, args []string) error {
	if len(args) != 1 || args[0] == "" {
		return usagef("%s needs one node, by its id or name: %s NODE", cmd.Name(), cmd.CommandPath())
	}
	return nil
}

func newNodeList(p *process) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the nodes, and what they carry",
		Long: `List the nodes, and what they carry. Behind "/" is how many replicas a node may carry, and lead.
"silent" are those that do not answer the node that was asked, "dead" those whose replicas are
placed anew.`,
		Example: `  quorate node list
  quorate node list --serializable          also without a leader
  quorate node list -o json`,
		Args: noArguments,
	}
	serializable := addSerializable(cmd)
	f := addClusterFlags(cmd)
	f.reads = true
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		request := &quoratev1.ListNodesRequest{Serializable: serializable.on()}
		r, err := askCluster(p, cmd, f, quoratev1.NewNodesClient, quoratev1.NodesClient.List, request)
		if err != nil {
			return err
		}
		return printNodes(p, f, r.GetNodes())
	}
	return cmd
}

func newNodeDrain(p *process) *cobra.Command {
	return newNodeChange(p, &cobra.Command{
		Use:   "drain NODE",
		Short: "Empty a node, which stays in the cluster",
		Long: `Empty a node: its replicas and leaders move to others, and no others come until 'quorate node
undrain'. It is refused if they have nowhere to go.`,
		Example: "  quorate node drain n3",
	}, func(p *process, cmd *cobra.Command, f *clusterFlags, n *quoratev1.Node) error {
		r, err := askCluster(p, cmd, f, quoratev1.NewNodesClient, quoratev1.NodesClient.Drain, &quoratev1.DrainNodeRequest{Node: n.GetId(), Drain: true})
		if err != nil {
			return err
		}
		return printNodeChange(p, f, r.GetNode(), fmt.Sprintf("draining %s: %s", nodeText(n), leavesText(r.GetNode())))
	})
}

func newNodeUndrain(p *process) *cobra.Command {
	return newNodeChange(p, &cobra.Command{
		Use:     "undrain NODE",
		Short:   "Let a drained node carry its share again",
		Example: "  quorate node undrain n3",
	}, func(p *process, cmd *cobra.Command, f *clusterFlags, n *quoratev1.Node) error {
		r, err := askCluster(p, cmd, f, quoratev1.NewNodesClient, quoratev1.NodesClient.Drain, &quoratev1.DrainNodeRequest{Node: n.GetId()})
		if err != nil {
			return err
		}
		return printNodeChange(p, f, r.GetNode(), fmt.Sprintf("undrained %s: it carries its share again", nodeText(n)))
	})
}

func newNodeWeight(p *process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "weight NODE WEIGHT",
		Short: "Change a node's share of the load beside others'",
		Long: fmt.Sprintf(`Change a node's share of the load beside others', 1 to %d: one with 2 carries twice as much as one
with 1, which all have that were given none.`, placement.WeightMax),
		Example: "  quorate node weight n4 2",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 || args[0] == "" {
				return usagef("weight needs a node, by its id or name, and a number: quorate node weight NODE WEIGHT")
			}
			weight, err := strconv.Atoi(args[1])
			if err != nil {
				return usagef("weight: %q is not a whole number", args[1])
			}
			if err := placement.CheckWeight(weight); err != nil {
				return usagef("%w", err)
			}
			return nil
		},
	}
	f := addClusterFlags(cmd)
	cmd.ValidArgsFunction = f.nodes(p)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		n, err := findNode(p, cmd, f, args[0])
		if err != nil {
			return err
		}
		weight, _ := strconv.Atoi(args[1]) // checked above
		r, err := askCluster(p, cmd, f, quoratev1.NewNodesClient, quoratev1.NodesClient.Weigh, &quoratev1.WeighNodeRequest{Node: n.GetId(), Weight: uint32(weight)})
		if err != nil {
			return err
		}
		return printNodeChange(p, f, r.GetNode(), fmt.Sprintf("weighed %s: weight %d, up to %s", nodeText(n), r.GetNode().GetWeight(), replicasCount(r.GetNode().GetCap())))
	}
	return cmd
}

func newNodeRemove(p *process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove NODE",
		Short: "Empty a node and take it out for good",
		Long: `Empty a node, and then take it out of the cluster for good: it never comes back under its id.
It may be dead. It is refused if some keyspace would lose its quorum, or if the replicas have
nowhere to go. On a terminal, remove asks for the node's name again.`,
		Example: `  quorate node remove n3
  quorate node remove 8e9e05c52164 --yes    in a script`,
	}
	yes := addSwitch(cmd, flagYes, "", "do not ask")
	return newNodeChange(p, cmd, func(p *process, cmd *cobra.Command, f *clusterFlags, n *quoratev1.Node) error {
		if !yes.on() {
			question := fmt.Sprintf("Removing %s moves its replicas to others, and cannot be undone.", nodeText(n))
			if err := p.confirm(cmd, nodeText(n), question, "removed"); err != nil {
				return err
			}
		}
		r, err := askCluster(p, cmd, f, quoratev1.NewNodesClient, quoratev1.NodesClient.Remove, &quoratev1.RemoveNodeRequest{Node: n.GetId()})
		if err != nil {
			return err
		}
		return printNodeChange(p, f, r.GetNode(), fmt.Sprintf("removing %s: %s", nodeText(n), leavesText(r.GetNode())))
	})
}

// newNodeChange completes a command that does something to one node.
func newNodeChange(p *process, cmd *cobra.Command, run func(*process, *cobra.Command, *clusterFlags, *quoratev1.Node) error) *cobra.Command {
	f := addClusterFlags(cmd)
	cmd.Args, cmd.ValidArgsFunction = oneNode, f.nodes(p)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		n, err := findNode(p, cmd, f, args[0])
		if err != nil {
			return err
		}
		return run(p, cmd, f, n)
	}
	return cmd
}

// findNode is the node of an id or name. An id wins: names are chosen by anybody.
func findNode(p *process, cmd *cobra.Command, f *clusterFlags, idOrName string) (*quoratev1.Node, error) {
	reading := *f
	reading.reads = true
	list, err := askCluster(p, cmd, &reading, quoratev1.NewNodesClient, quoratev1.NodesClient.List, &quoratev1.ListNodesRequest{})
	if err != nil {
		return nil, err
	}
	id, noID := strconv.ParseUint(idOrName, 16, 64)
	var named []*quoratev1.Node
	for _, n := range list.GetNodes() {
		if noID == nil && n.GetId() == id {
			return n, nil
		}
		if n.GetName() == idOrName {
			named = append(named, n)
		}
	}
	switch len(named) {
	case 0:
		return nil, fmt.Errorf("there is no node %q: 'quorate node list' names those that there are", idOrName)
	case 1:
		return named[0], nil
	}
	return nil, fmt.Errorf("%d nodes have the name %q: give the id of one, as in %s", len(named), idOrName, idText(named[0].GetId()))
}

// nodes completes the names of nodes, or the ids of those that have none.
func (f *clusterFlags) nodes(p *process) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		list, _ := askForNames(p, cmd, f, quoratev1.NewNodesClient, quoratev1.NodesClient.List, &quoratev1.ListNodesRequest{Serializable: true})
		var names []cobra.Completion
		for _, n := range list.GetNodes() {
			names = append(names, cobra.CompletionWithDesc(nodeText(n), nodeStateText(n)))
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
