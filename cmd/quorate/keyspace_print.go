package main

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/quorate/quorate/api/quorate/v1"
)

// keyspaceJSON is a keyspace as -o json shows it. Member ids are hexadecimal text as etcdctl
// prints them: as numbers they are too large for many readers of JSON.
type keyspaceJSON struct {
	Name       string      `json:"name"`
	State      string      `json:"state"`
	Engine     string      `json:"engine"`
	Replicas   uint32      `json:"replicas"`
	QuotaBytes int64       `json:"quota_bytes"` // -1: none
	Limits     *limitsJSON `json:"limits,omitempty"`
	Epoch      uint64      `json:"epoch"`
	Shards     []shardJSON `json:"shards"`
	// Seconds since 1970; those of a deletion are left out where there is none.
	Created int64 `json:"created_unix_seconds"`
	Deleted int64 `json:"deleted_unix_seconds,omitempty"`
	Expires int64 `json:"expires_unix_seconds,omitempty"`
}

type shardJSON struct {
	ID       uint64        `json:"id"`
	Engine   string        `json:"engine"`
	Leader   string        `json:"leader"` // empty: not known
	Replicas []replicaJSON `json:"replicas"`
}

type replicaJSON struct {
	Node     string `json:"node"`
	NodeName string `json:"node_name"`
	Leads    bool   `json:"leads"`
	Role     string `json:"role"` // voter, joining, leaving or learner
}

func jsonOf(k *quoratev1.Keyspace) keyspaceJSON {
	out := keyspaceJSON{
		Name: k.GetName(), State: stateText(k), Engine: k.GetEngine(), Replicas: k.GetReplicas(),
		QuotaBytes: k.GetQuotaBytes(), Epoch: k.GetEpoch(), Shards: []shardJSON{}, Limits: limitsOf(k),
		Created: k.GetCreatedUnixSeconds(), Deleted: k.GetDeletedUnixSeconds(), Expires: k.GetExpiresUnixSeconds(),
	}
	for _, s := range k.GetShards() {
		shard := shardJSON{ID: s.GetId(), Engine: s.GetEngine(), Replicas: []replicaJSON{}}
		if s.GetLeader() != 0 {
			shard.Leader = idText(s.GetLeader())
		}
		for _, r := range s.GetReplicas() {
			shard.Replicas = append(shard.Replicas, replicaJSON{Node: idText(r.GetNode()), NodeName: r.GetNodeName(), Leads: r.GetLeads(), Role: roleText(r)})
		}
		out.Shards = append(out.Shards, shard)
	}
	return out
}

func jsonOfAll(list []*quoratev1.Keyspace) []keyspaceJSON {
	all := make([]keyspaceJSON, len(list))
	for i, k := range list {
		all[i] = jsonOf(k)
	}
	return all
}

// printChange prints what was done: the new record, or a line.
func printChange(p *process, f *clusterFlags, record any, line string) error {
	if f.json() {
		return writeJSON(p, record)
	}
	_, err := fmt.Fprintln(p.stdout, line)
	return err
}

// printKeyspaces prints a table.
func printKeyspaces(p *process, f *clusterFlags, list []*quoratev1.Keyspace) error {
	if f.json() {
		return writeJSON(p, map[string]any{"keyspaces": jsonOfAll(list)})
	}
	if len(list) == 0 {
		fmt.Fprintln(p.stderr, "quorate: there are none beside \"default\": 'quorate keyspace create NAME' makes one")
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATE\tENGINE\tREPLICAS\tQUOTA\tNODES")
	for _, k := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\n", k.GetName(), stateText(k), k.GetEngine(), k.GetReplicas(), bytesText(k.GetQuotaBytes()), nodesText(k))
	}
	return w.Flush()
}

// printKeyspace prints one line per fact.
func printKeyspace(p *process, f *clusterFlags, k *quoratev1.Keyspace) error {
	if f.json() {
		return writeJSON(p, jsonOf(k))
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "name\t%s\nstate\t%s\nengine\t%s\nreplicas\t%d\nquota\t%s\nepoch\t%d\ncreated\t%s\n", k.GetName(), stateText(k), k.GetEngine(),
		k.GetReplicas(), bytesText(k.GetQuotaBytes()), k.GetEpoch(), timeText(k.GetCreatedUnixSeconds()))
	printLimits(w, k)
	if k.GetState() == quoratev1.Keyspace_DELETED {
		fmt.Fprintf(w, "deleted\t%s\ngone\t%s\n", timeText(k.GetDeletedUnixSeconds()), timeText(k.GetExpiresUnixSeconds()))
	}
	for _, s := range k.GetShards() {
		leader := "no leader known"
		if s.GetLeader() != 0 {
			leader = "* leads"
		}
		fmt.Fprintf(w, "shard %d\t%s (%s)\n", s.GetId(), replicasText(s), leader)
	}
	return w.Flush()
}

// nodesText names the nodes of all shards; there is one shard, so far.
func nodesText(k *quoratev1.Keyspace) string {
	parts := make([]string, len(k.GetShards()))
	for i, s := range k.GetShards() {
		parts[i] = replicasText(s)
	}
	return strings.Join(parts, " ")
}

// replicasText names a shard's nodes: the leader with a star, with a plus those that a replica
// moves to, and with a minus those that one leaves. Those that never vote are left out.
func replicasText(s *quoratev1.Shard) string {
	var names []string
	for _, r := range s.GetReplicas() {
		name := cmp.Or(r.GetNodeName(), idText(r.GetNode()))
		switch r.GetRole() {
		case quoratev1.Replica_LEARNER:
			continue
		case quoratev1.Replica_JOINING:
			name = "+" + name
		case quoratev1.Replica_LEAVING:
			name = "-" + name
		}
		if r.GetLeads() {
			name += "*"
		}
		names = append(names, name)
	}
	return strings.Join(names, ",")
}

func roleText(r *quoratev1.Replica) string {
	switch r.GetRole() {
	case quoratev1.Replica_JOINING:
		return "joining"
	case quoratev1.Replica_LEAVING:
		return "leaving"
	case quoratev1.Replica_LEARNER:
		return "learner"
	}
	return "voter" // as all are that an older node lists
}

func stateText(k *quoratev1.Keyspace) string {
	switch k.GetState() {
	case quoratev1.Keyspace_ACTIVE:
		return "active"
	case quoratev1.Keyspace_DELETED:
		return "deleted"
	}
	return "unknown"
}

// idText prints a member id as etcdctl does.
func idText(id uint64) string { return strconv.FormatUint(id, 16) }

func timeText(unixSeconds int64) string { return time.Unix(unixSeconds, 0).UTC().Format(time.RFC3339) }

func quotaText(bytes int64) string {
	if bytes < 0 {
		return "no quota"
	}
	return "quota " + bytesText(bytes)
}

// bytesText prints a quota in the largest unit that makes it a whole number.
func bytesText(bytes int64) string {
	if bytes < 0 {
		return "none"
	}
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for ; i < len(units)-1 && bytes != 0 && bytes%1024 == 0; i++ {
		bytes /= 1024
	}
	return fmt.Sprintf("%d %s", bytes, units[i])
}
