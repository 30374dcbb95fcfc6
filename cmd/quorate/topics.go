package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// newEtcdFlagsTopic builds the help topic that says what becomes of each of etcd's flags
// (Q2). It is written from the tables that decide it.
func newEtcdFlagsTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "etcd-flags",
		Short: "What becomes of each of etcd's flags",
		Long:  etcdFlagsText(newFlagTable()),
	}
}

func etcdFlagsText(table flagTable) string {
	var b strings.Builder
	b.WriteString("Every flag of etcd 3.7 is known to 'quorate serve'.\n")
	for _, part := range []struct {
		status status
		title  string
	}{
		{served, "Work as in etcd ('quorate serve --help' explains them)"},
		{ignored, "Accepted with a warning, no effect yet"},
		{refused, "Refused, because ignoring them would weaken security, durability or identity"},
	} {
		fmt.Fprintf(&b, "\n%s:\n", part.title)
		for _, name := range table.names() {
			spec := table[name]
			switch {
			case spec.status != part.status || isOwnFlag(name):
			case spec.status == ignored && spec.note != "":
				fmt.Fprintf(&b, "  --%-38s %s\n", name, spec.note)
			default:
				fmt.Fprintf(&b, "  --%s\n", name)
			}
		}
	}
	b.WriteString("\nA refused flag may be given etcd's default, which asks for nothing.")
	return b.String()
}

func isOwnFlag(name string) bool {
	for _, f := range ownFlags {
		if f.name == name {
			return true
		}
	}
	return false
}
