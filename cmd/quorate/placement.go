package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/api/quorate/v1"
)

const flagLoadPercent = "load-percent"

// newPlacement builds `placement`: where the replicas of a running cluster are, and why.
func newPlacement(p *process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "placement",
		Short: "Show where replicas are and what moves, and hold it",
		Long: `Every keyspace has its replicas on some of the nodes. They move by themselves, a few at a time, when
a node comes, goes, dies, is drained or gets another weight; a replica that stands well stays.

The commands ask a running node, any one.

Exit codes: 0 done, 1 failed or refused, 2 unreadable command line.`,
		Example: `  quorate placement show
  quorate placement explain team-a          why it is where it is
  quorate placement pause                   before work on the network
  quorate placement plan                    what would move
  quorate placement apply                   that, once
  quorate placement resume`,
	}
	return group(cmd, newPlacementShow(p), newPlacementExplain(p), newPlacementPlan(p), newPlacementApply(p),
		newPlacementPause(p, true), newPlacementPause(p, false))
}

func newPlacementShow(p *process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show the nodes' load, what moves, and what cannot",
		Long: `Show the nodes' load, the keyspaces with replicas on the move, and those whose replicas do not
answer in sufficient number, as the node knows that is asked. With + is a node that a replica
moves to, with - one that it leaves; a * is behind the leader.`,
		Example: `  quorate placement show
  watch quorate placement show              while a cluster heals
  quorate placement show -o json`,
		Args: noArguments,
	}
	f := addClusterFlags(cmd)
	f.reads = true
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		r, err := askCluster(p, cmd, f, quoratev1.NewPlacementClient, quoratev1.PlacementClient.Show, &quoratev1.ShowPlacementRequest{})
		if err != nil {
			return err
		}
		return printPlacement(p, f, r)
	}
	return cmd
}

// printPlacement prints a line of sums, and up to three tables.
func printPlacement(p *process, f *clusterFlags, r *quoratev1.ShowPlacementResponse) error {
	if f.json() {
		return writeJSON(p, map[string]any{
			"paused": r.GetPaused(), "keyspaces": r.GetKeyspaces(), "nodes": jsonOfNodes(r.GetNodes()),
			"moving": jsonOfAll(r.GetMoving()), "lost": jsonOfAll(r.GetLost()),
		})
	}
	fmt.Fprintf(p.stdout, "keyspaces %d, moving %d, lost %d", r.GetKeyspaces(), len(r.GetMoving()), len(r.GetLost()))
	if r.GetPaused() {
		fmt.Fprint(p.stdout, "; paused until 'quorate placement resume'")
	}
	fmt.Fprint(p.stdout, "\n\n")
	if err := nodesTable(p.stdout, r.GetNodes()); err != nil {
		return err
	}
	for _, list := range []struct {
		title     string
		keyspaces []*quoratev1.Keyspace
	}{{"MOVING", r.GetMoving()}, {"LOST", r.GetLost()}} {
		if len(list.keyspaces) == 0 {
			continue
		}
		w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "\n%s\tNODES\n", list.title)
		for _, k := range list.keyspaces {
			fmt.Fprintf(w, "%s\t%s\n", k.GetName(), nodesText(k))
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func newPlacementExplain(p *process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain KEYSPACE",
		Short: "Say why each replica of a keyspace is where it is",
		Example: `  quorate placement explain team-a
  quorate placement explain default -o json`,
		Args: oneName,
	}
	f := addClusterFlags(cmd)
	f.reads = true
	cmd.ValidArgsFunction = f.names(p, quoratev1.Keyspace_STATE_UNSPECIFIED)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := askCluster(p, cmd, f, quoratev1.NewPlacementClient, quoratev1.PlacementClient.Explain, &quoratev1.ExplainPlacementRequest{Keyspace: args[0]})
		if err != nil {
			return err
		}
		if f.json() {
			return writeJSON(p, map[string]any{"keyspace": args[0], "replicas": append([]string{}, r.GetReplicas()...)})
		}
		for _, text := range r.GetReplicas() {
			if _, err := fmt.Fprintln(p.stdout, text); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

func newPlacementPlan(p *process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what would move next, and change nothing",
		Example: `  quorate placement plan
  quorate placement plan --load-percent 105     fill a new node more than by itself`,
		Args: noArguments,
	}
	load, f := addLoadPercent(cmd), addClusterFlags(cmd)
	f.reads = true
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		request := &quoratev1.PlanPlacementRequest{LoadPercent: uint32(number(load))}
		r, err := askCluster(p, cmd, f, quoratev1.NewPlacementClient, quoratev1.PlacementClient.Plan, request)
		if err != nil {
			return err
		}
		return printProposals(p, f, r.GetProposals())
	}
	return cmd
}

func newPlacementApply(p *process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Begin to move what plan shows, once, also while paused",
		Long: `Begin to move what 'quorate placement plan' shows, once, also while placement is paused. A plan has
as much as may move at a time: apply again when that has arrived.`,
		Example: `  quorate placement apply
  quorate placement apply --load-percent 105    as with plan`,
		Args: noArguments,
	}
	load, f := addLoadPercent(cmd), addClusterFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		request := &quoratev1.ApplyPlacementRequest{LoadPercent: uint32(number(load))}
		r, err := askCluster(p, cmd, f, quoratev1.NewPlacementClient, quoratev1.PlacementClient.Apply, request)
		if err != nil {
			return err
		}
		return printProposals(p, f, r.GetProposals())
	}
	return cmd
}

func addLoadPercent(cmd *cobra.Command) *flagValue {
	return addDevFlag(cmd.Flags(), &flagSpec{name: flagLoadPercent, kind: natural,
		note: "most load of a node in percent of its share, 100 or more (default what the cluster uses by itself)"})
}

// newPlacementPause builds pause or its opposite, resume.
func newPlacementPause(p *process, pause bool) *cobra.Command {
	cmd, line := &cobra.Command{
		Use:   "pause",
		Short: "Let nothing begin to move",
		Long: `Let nothing begin to move until 'quorate placement resume', also not from nodes that die. What
has begun arrives.`,
		Example: "  quorate placement pause",
		Args:    noArguments,
	}, "paused: nothing begins to move until 'quorate placement resume'"
	if !pause {
		cmd, line = &cobra.Command{
			Use:     "resume",
			Short:   "Let replicas move again",
			Example: "  quorate placement resume",
			Args:    noArguments,
		}, "resumed: replicas move by themselves again"
	}
	f := addClusterFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		r, err := askCluster(p, cmd, f, quoratev1.NewPlacementClient, quoratev1.PlacementClient.Pause, &quoratev1.PausePlacementRequest{Paused: pause})
		if err != nil {
			return err
		}
		return printChange(p, f, map[string]any{"paused": r.GetPaused()}, line)
	}
	return cmd
}

// proposalJSON is a proposal as -o json shows it.
type proposalJSON struct {
	Keyspace string   `json:"keyspace"`
	Moves    []string `json:"moves"`
	Note     string   `json:"note,omitempty"`
}

// printProposals prints a line for each move.
func printProposals(p *process, f *clusterFlags, list []*quoratev1.Proposal) error {
	if f.json() {
		all := make([]proposalJSON, len(list))
		for i, o := range list {
			all[i] = proposalJSON{Keyspace: o.GetKeyspace(), Moves: append([]string{}, o.GetMoves()...), Note: o.GetNote()}
		}
		return writeJSON(p, map[string]any{"proposals": all})
	}
	if len(list) == 0 {
		fmt.Fprintln(p.stderr, "quorate: nothing has to move")
	}
	for _, o := range list {
		lines := o.GetMoves()
		if o.GetNote() != "" {
			lines = append(lines, o.GetNote())
		}
		for _, line := range lines {
			if _, err := fmt.Fprintf(p.stdout, "%s: %s\n", o.GetKeyspace(), line); err != nil {
				return err
			}
		}
	}
	return nil
}
