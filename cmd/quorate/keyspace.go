package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/api/quorate/v1"
)

const (
	flagReplicas     = "replicas"
	flagQuotaBytes   = "quota-bytes"
	flagDeleted      = "deleted"
	flagSerializable = "serializable"
	flagYes          = "yes"
)

// newKeyspace builds `keyspace`: the keyspaces of a running cluster.
func newKeyspace(p *process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keyspace",
		Short: "Create, list and delete the keyspaces of a running cluster",
		Long: `A keyspace is a complete etcd: with revisions, leases and a quota of its own, and with replicas
on some of the cluster's nodes. Clients choose theirs by the gRPC metadata "quorate-keyspace", by
the host name that they dial, or by the port: see --keyspace-domain and --listen of 'quorate
serve'. Those that choose none get "default", which every cluster has. Every node takes calls for
every keyspace, and passes them on if it has no replica.

The commands ask a running node; they need no access to its data.

Exit codes: 0 done, 1 failed or refused, 2 unreadable command line.`,
		Example: `  quorate keyspace create team-a
  quorate keyspace list
  quorate keyspace update team-a --replicas 5
  quorate keyspace delete team-a
  quorate keyspace undelete team-a          within a day`,
	}
	return group(cmd, newKeyspaceCreate(p), newKeyspaceList(p), newKeyspaceDescribe(p),
		newKeyspaceUpdate(p), newKeyspaceDelete(p), newKeyspaceUndelete(p))
}

// oneName is the argument of commands on one keyspace.
func oneName(cmd *cobra.Command, args []string) error {
	if len(args) != 1 || args[0] == "" {
		return usagef("%s needs the name of one keyspace: %s NAME", cmd.Name(), cmd.CommandPath())
	}
	return nil
}

func newKeyspaceCreate(p *process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a keyspace",
		Long: `Make a keyspace, on nodes that the cluster chooses. A name has 1 to 63 of the letters a to z,
digits and dashes, and no dash at its ends. The engine is chosen once and for all.`,
		Example: `  quorate keyspace create team-a
  quorate keyspace create team-b --engine paxos --replicas 5 --quota-bytes -1
  quorate keyspace create team-c -o json`,
		Args:              oneName,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	engine := engineFlags()[0]
	engine.preset, engine.choices = "", nil // the cluster knows which it has
	engine.note = "consensus engine (default that of \"default\")"
	engines := addDevFlag(cmd.Flags(), &engine)
	engine.complete(cmd)
	replicas := addDevFlag(cmd.Flags(), &flagSpec{name: flagReplicas, kind: natural, note: "nodes that have a replica: 1, 3, 5 or 7 (default 3, or 1 on fewer nodes)"})
	quota := addDevFlag(cmd.Flags(), &flagSpec{name: flagQuotaBytes, kind: integer, note: "bytes of data before writes are rejected; -1 is no quota (default 2 GiB)"})
	limits := addLimitFlags(cmd)
	f := addClusterFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request := &quoratev1.CreateRequest{Name: args[0], Engine: engines.text, Replicas: uint32(number(replicas)), QuotaBytes: number(quota)}
		var err error
		if request.Limits, err = limits.message(); err != nil {
			return err
		}
		r, err := askCluster(p, cmd, f, quoratev1.NewKeyspacesClient, quoratev1.KeyspacesClient.Create, request)
		if err != nil {
			return err
		}
		k := r.GetKeyspace()
		return printChange(p, f, jsonOf(k), fmt.Sprintf("created %s: engine %s, %s, on %s", k.GetName(), k.GetEngine(), limitsText(k), nodesText(k)))
	}
	return cmd
}

// number reads a flag that was checked when it was set; empty is 0.
func number(v *flagValue) int64 {
	n, _ := strconv.ParseInt(v.text, 0, 64)
	return n
}

func newKeyspaceList(p *process) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the keyspaces",
		Long: `List the keyspaces, without "system" and "default", which every cluster has. A * is behind the
node that leads, where the node that was asked knows. With + is a node that a replica moves to,
with - one that it leaves.`,
		Example: `  quorate keyspace list
  quorate keyspace list --deleted           those too that can be undeleted
  quorate keyspace list -o json`,
		Args: noArguments,
	}
	deleted := addSwitch(cmd, flagDeleted, "", "list deleted ones, too")
	serializable := addSerializable(cmd)
	f := addClusterFlags(cmd)
	f.reads = true
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		request := &quoratev1.ListRequest{IncludeDeleted: deleted.on(), Serializable: serializable.on()}
		r, err := askCluster(p, cmd, f, quoratev1.NewKeyspacesClient, quoratev1.KeyspacesClient.List, request)
		if err != nil {
			return err
		}
		return printKeyspaces(p, f, r.GetKeyspaces())
	}
	return cmd
}

func newKeyspaceDescribe(p *process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "describe NAME",
		Short: "Show all that is known of a keyspace",
		Example: `  quorate keyspace describe team-a
  quorate keyspace describe team-a -o json`,
		Args: oneName,
	}
	serializable := addSerializable(cmd)
	f := addClusterFlags(cmd)
	f.reads = true
	cmd.ValidArgsFunction = f.names(p, quoratev1.Keyspace_STATE_UNSPECIFIED)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request := &quoratev1.DescribeRequest{Name: args[0], Serializable: serializable.on()}
		r, err := askCluster(p, cmd, f, quoratev1.NewKeyspacesClient, quoratev1.KeyspacesClient.Describe, request)
		if err != nil {
			return err
		}
		return printKeyspace(p, f, r.GetKeyspace())
	}
	return cmd
}

func newKeyspaceUpdate(p *process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "update NAME",
		Short: "Change a keyspace's limits, or how many replicas it has",
		Long: `Change what flags name, and leave the rest. Limits on watchers and rates hold for each node that
answers, by itself; calls above a rate are refused with "too many requests". Replicas come and go one
at a time, while clients work: 'quorate keyspace describe' shows how far that is.`,
		Example: `  quorate keyspace update team-a --quota-bytes 8589934592
  quorate keyspace update team-a --quota-keys 100000 --max-requests-per-second 500
  quorate keyspace update team-a --quota-bytes -1       no quota
  quorate keyspace update team-a --replicas 5`,
		Args: oneName,
	}
	quota := addDevFlag(cmd.Flags(), &flagSpec{name: flagQuotaBytes, kind: integer, note: "bytes of data before writes are rejected; -1 is no quota"})
	replicas := addDevFlag(cmd.Flags(), &flagSpec{name: flagReplicas, kind: natural, note: "nodes that have a replica: 1, 3, 5 or 7"})
	limits := addLimitFlags(cmd)
	f := addClusterFlags(cmd)
	cmd.ValidArgsFunction = f.names(p, quoratev1.Keyspace_ACTIVE)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request := &quoratev1.UpdateRequest{Name: args[0]}
		var err error
		if request.Limits, err = limits.message(); err != nil {
			return err
		}
		if cmd.Flags().Changed(flagQuotaBytes) {
			bytes := number(quota)
			request.QuotaBytes = &bytes
		}
		if cmd.Flags().Changed(flagReplicas) {
			count := uint32(number(replicas))
			request.Replicas = &count
		}
		if request.QuotaBytes == nil && request.Replicas == nil && request.Limits == nil {
			return usagef("update changes nothing: add --%s, --%s or another limit", flagQuotaBytes, flagReplicas)
		}
		r, err := askCluster(p, cmd, f, quoratev1.NewKeyspacesClient, quoratev1.KeyspacesClient.Update, request)
		if err != nil {
			return err
		}
		k := r.GetKeyspace()
		return printChange(p, f, jsonOf(k), fmt.Sprintf("updated %s: %s, replicas %d", k.GetName(), limitsText(k), k.GetReplicas()))
	}
	return cmd
}

func newKeyspaceDelete(p *process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a keyspace; it can be undeleted for a while",
		Long: `Delete a keyspace. It serves nobody any more; its data stays for a while, until which
'quorate keyspace undelete' brings it back. On a terminal, delete asks for the name again.`,
		Example: `  quorate keyspace delete team-a
  quorate keyspace delete team-a --yes      in a script`,
		Args: oneName,
	}
	yes := addSwitch(cmd, flagYes, "", "do not ask")
	f := addClusterFlags(cmd)
	cmd.ValidArgsFunction = f.names(p, quoratev1.Keyspace_ACTIVE)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !yes.on() {
			question := fmt.Sprintf("Deleting %s ends its service at once.", args[0])
			if err := p.confirm(cmd, args[0], question, "deleted"); err != nil {
				return err
			}
		}
		r, err := askCluster(p, cmd, f, quoratev1.NewKeyspacesClient, quoratev1.KeyspacesClient.Delete, &quoratev1.DeleteRequest{Name: args[0]})
		if err != nil {
			return err
		}
		k := r.GetKeyspace()
		return printChange(p, f, jsonOf(k), fmt.Sprintf("deleted %s: until %s 'quorate keyspace undelete %[1]s' brings it back", k.GetName(), timeText(k.GetExpiresUnixSeconds())))
	}
	return cmd
}

func newKeyspaceUndelete(p *process) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "undelete NAME",
		Short:   "Bring a deleted keyspace back",
		Example: "  quorate keyspace undelete team-a",
		Args:    oneName,
	}
	f := addClusterFlags(cmd)
	cmd.ValidArgsFunction = f.names(p, quoratev1.Keyspace_DELETED)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := askCluster(p, cmd, f, quoratev1.NewKeyspacesClient, quoratev1.KeyspacesClient.Undelete, &quoratev1.UndeleteRequest{Name: args[0]})
		if err != nil {
			return err
		}
		k := r.GetKeyspace()
		return printChange(p, f, jsonOf(k), "undeleted "+k.GetName())
	}
	return cmd
}

func addSerializable(cmd *cobra.Command) *flagValue {
	return addSwitch(cmd, flagSerializable, "", "show what the asked node knows, perhaps outdated, without asking the leader")
}

// names completes the names of keyspaces that are in a state; unspecified: in any.
func (f *clusterFlags) names(p *process, state quoratev1.Keyspace_State) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		request := &quoratev1.ListRequest{IncludeDeleted: state != quoratev1.Keyspace_ACTIVE, Serializable: true}
		list, _ := askForNames(p, cmd, f, quoratev1.NewKeyspacesClient, quoratev1.KeyspacesClient.List, request)
		var names []cobra.Completion
		for _, k := range list.GetKeyspaces() {
			if state == quoratev1.Keyspace_STATE_UNSPECIFIED || state == k.GetState() {
				names = append(names, k.GetName())
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
