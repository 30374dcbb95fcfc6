package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// newRoot builds the tree of commands. The root itself has no work: a command line that
// names no command means `serve`, see commandLine.
func newRoot(p *process) *cobra.Command {
	root := &cobra.Command{
		Use:   "quorate",
		Short: "Thousands of complete etcds in one small cluster",
		Long: `Quorate stores the state that other systems coordinate through. Any etcd client works
with it unchanged, and so do etcd's flags: without a command, quorate serves.`,
		Example: `  quorate                                   one node on etcd's default ports
  quorate dev                               three nodes on this machine, to play with
  quorate serve --name a --data-dir /var/lib/quorate
  quorate keyspace create team-a            one more etcd in a running cluster
  quorate node list                         its machines, and what they carry
  quorate help etcd-flags                   what becomes of each of etcd's flags`,
		SilenceErrors:      true,
		SilenceUsage:       true,
		DisableSuggestions: true, // our own are sentences, see unknownCommand
		Args:               unknownCommand,
		RunE:               func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		CompletionOptions:  cobra.CompletionOptions{DisableDefaultCmd: true},
		// Flags come to the root only behind an unknown command, which is worth more words.
		FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true},
	}
	addSwitch(root, flagVersion, "", "print the version and end")
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(newServe(p), newDev(p), newKeyspace(p), newNode(p), newPlacement(p), newSim(p), newVersion(p), newCompletion(), newEtcdFlagsTopic())
	addSwitch(root, "help", "h", "explain the command and end")
	for _, c := range allCommands(root) {
		addSwitch(c, "help", "h", "explain the command and end")
	}
	return root
}

// allCommands lists the commands below one, groups before what is in them.
func allCommands(root *cobra.Command) []*cobra.Command {
	var all []*cobra.Command
	for _, c := range root.Commands() {
		all = append(append(all, c), allCommands(c)...)
	}
	return all
}

// addSwitch adds a flag that is on or off.
func addSwitch(cmd *cobra.Command, name, short, note string) *flagValue {
	spec := &flagSpec{name: name, kind: boolean, preset: "false"}
	value := &flagValue{spec: spec, text: spec.preset}
	cmd.Flags().VarPF(value, name, short, note).NoOptDefVal = "true"
	return value
}

// group makes a command of which only its own commands do something.
func group(cmd *cobra.Command, commands ...*cobra.Command) *cobra.Command {
	cmd.Args = unknownCommand
	cmd.RunE = func(*cobra.Command, []string) error {
		return usagef("%s needs a command: 'quorate help %[1]s' lists them", cmd.Name())
	}
	// As with the root: an unknown command is worth more words than its flags.
	cmd.FParseErrWhitelist = cobra.FParseErrWhitelist{UnknownFlags: true}
	cmd.AddCommand(commands...)
	return cmd
}

// commandLine returns the arguments for cobra: `serve` is put in front where no command
// was named, and flags written with one dash get their second one.
func (p *process) commandLine(root *cobra.Command) []string {
	args := twoDashes(p.args, func(name string) bool { return takesValue(root, name) })
	if len(args) == 0 {
		return []string{"serve"}
	}
	first := args[0]
	if p.asEtcd() {
		if strings.HasPrefix(first, "-") {
			return append([]string{"serve"}, args...)
		}
		return args
	}
	if strings.HasPrefix(first, "-") && first != "-h" && first != "--help" {
		return append([]string{"serve"}, args...)
	}
	return args
}

// twoDashes rewrites -flag as --flag: etcd reads both. Single letters stay shorthands,
// and an argument that is the value of the flag before it stays as it is.
func twoDashes(args []string, takesValue func(name string) bool) []string {
	out := make([]string, 0, len(args))
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return append(out, args[i:]...)
		}
		if len(arg) > 1 && arg[0] == '-' {
			name, _, assigned := strings.Cut(strings.TrimLeft(arg, "-"), "=")
			if len(name) > 1 && isLetter(name[0]) && arg[1] != '-' {
				arg = "-" + arg
			}
			if !assigned && takesValue(name) && i+1 < len(args) {
				out = append(out, arg, args[i+1])
				i++
				continue
			}
		}
		out = append(out, arg)
	}
	return out
}

func isLetter(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// takesValue reports whether some command has a flag of this name or shorthand that is
// followed by its value. A name means the same in all our commands.
func takesValue(root *cobra.Command, name string) bool {
	return slices.ContainsFunc(allCommands(root), func(c *cobra.Command) bool {
		f := c.Flags().Lookup(name)
		if f == nil && len(name) == 1 {
			f = c.Flags().ShorthandLookup(name)
		}
		return f != nil && f.NoOptDefVal == ""
	})
}

// unknownCommand says what the user may have meant, of the root or a group of commands.
func unknownCommand(group *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	help := "quorate help"
	switch {
	case group.HasParent():
		help += " " + group.Name()
	case args[0] == "gateway", args[0] == "grpc-proxy":
		return usagef("etcd's %s is not part of Quorate: clients connect to the nodes themselves", args[0])
	}
	var names []string
	for _, c := range group.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	if near, ok := nearest(args[0], names); ok {
		return usagef("unknown command %q: did you mean %q?", args[0], near)
	}
	return usagef("unknown command %q: '%s' lists them", args[0], help)
}

// noArguments is cobra's NoArgs with our sentence.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%q is not a flag, and %s takes nothing else: did you forget a dash?", args[0], cmd.Name())
	}
	return nil
}

// flagError turns what pflag says about a command line into our sentence.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		return unknownFlag(cmd, unknown)
	}
	var missing *pflag.ValueRequiredError
	if errors.As(err, &missing) {
		return usagef("--%s needs a value: --%[1]s=VALUE", missing.GetFlag().Name)
	}
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		return usagef("--%s: %w", invalid.GetFlag().Name, invalid.Unwrap())
	}
	return &usageError{err}
}

func unknownFlag(cmd *cobra.Command, unknown *pflag.NotExistError) error {
	name := unknown.GetSpecifiedName()
	if shorts := unknown.GetSpecifiedShortnames(); shorts != "" {
		return usagef("unknown flag -%s: '%s --help' lists them", shorts, cmd.CommandPath())
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Name != flagSupervised {
			names = append(names, f.Name)
		}
	})
	// etcd's flags lost this prefix when they left their trial period, up to 3.6.
	if near, ok := nearest(strings.TrimPrefix(name, "experimental-"), names); ok {
		return usagef("unknown flag --%s: did you mean --%s?", name, near)
	}
	return usagef("unknown flag --%s: '%s --help' lists them", name, cmd.CommandPath())
}
