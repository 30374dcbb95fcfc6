package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/internal/server"
)

// version is our own, stamped by -ldflags "-X main.version=…"; without a stamp the
// module's version counts, which `go install` knows.
var version string

// build says what this binary is. EtcdVersion is the etcd that we answer as.
type build struct {
	Version     string `json:"version"`
	EtcdVersion string `json:"etcd_version"`
	Commit      string `json:"commit"`
	Modified    bool   `json:"modified"`
	GoVersion   string `json:"go_version"`
	Platform    string `json:"platform"`
	// Engines are the values of --engine, the default first.
	Engines []string `json:"engines"`
}

func readBuild() build {
	b := build{
		Version:     version,
		EtcdVersion: server.EtcdVersion,
		Commit:      "unknown",
		GoVersion:   runtime.Version(),
		Platform:    runtime.GOOS + "/" + runtime.GOARCH,
		Engines:     engineNames(),
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	if b.Version == "" {
		b.Version = strings.TrimPrefix(info.Main.Version, "v")
	}
	if b.Version == "" || b.Version == "(devel)" {
		b.Version = "devel"
	}
	return b
}

// newVersion builds `version`.
func newVersion(p *process) *cobra.Command {
	var output *flagValue
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print our version, and the version of etcd we answer as",
		Example: `  quorate version
  quorate version -o json
  quorate --version            four lines, as etcd prints them`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			b := readBuild()
			if output.text == formatJSON {
				return writeJSON(p, b)
			}
			commit := b.Commit
			if b.Modified {
				commit += " (modified)"
			}
			_, err := fmt.Fprintf(p.stdout, "quorate  %s\netcd API %s\ncommit   %s\nengines  %s\ngo       %s %s\n",
				b.Version, b.EtcdVersion, commit, strings.Join(b.Engines, ", "), strings.TrimPrefix(b.GoVersion, "go"), b.Platform)
			return err
		},
	}
	output = addOutputFlag(cmd)
	return cmd
}

// printEtcdVersion prints etcd's four lines. Called as etcd we name the version that we
// answer as: scripts compare it.
func printEtcdVersion(p *process) error {
	b := readBuild()
	product, number := "quorate", b.Version
	if p.asEtcd() {
		product, number = "etcd", b.EtcdVersion
	}
	_, err := fmt.Fprintf(p.stdout, "%s Version: %s\nGit SHA: %s\nGo Version: %s\nGo OS/Arch: %s\n",
		product, number, b.Commit, b.GoVersion, b.Platform)
	return err
}

// addOutputFlag gives a command -o text|json.
func addOutputFlag(cmd *cobra.Command) *flagValue {
	spec := &flagSpec{name: "output", preset: "text", choices: []string{"text", formatJSON}}
	value := &flagValue{spec: spec, text: spec.preset}
	cmd.Flags().VarP(value, spec.name, "o", "text or json")
	_ = cmd.RegisterFlagCompletionFunc(spec.name, cobra.FixedCompletions(spec.choices, cobra.ShellCompDirectiveNoFileComp))
	return value
}

func writeJSON(p *process, v any) error {
	e := json.NewEncoder(p.stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
