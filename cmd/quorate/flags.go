package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// status is what becomes of a flag (Q2).
type status uint8

const (
	served  status = iota // works as in etcd
	ignored               // accepted with a warning
	refused               // a start-up error unless it asks for etcd's default (Q3)
)

// flagSpec is one flag of `serve`.
type flagSpec struct {
	name string
	kind kind
	// preset is the default, written as on a command line.
	preset string
	// repeats says that each further use of the flag adds to a list instead of replacing it.
	repeats bool
	// status follows from the table that lists the flag, see newFlagTable.
	status status
	// choices lists the accepted values of a flag that names one of several.
	choices []string
	// hints are the choices as a shell shows them, each with a tab and an explanation; nil:
	// the choices alone.
	hints []string
	// note is the help text of a served flag, the reason why an ignored one does not
	// matter (may be empty), or what a refused one would have to do.
	note string
}

// kind is what a flag's value must look like. Flags, variables and the file all pass
// the same check, so a typing error is found also where the value has no effect.
type kind uint8

const (
	text kind = iota
	boolean
	integer
	natural
	duration
)

// String is the kind's name in help texts.
func (k kind) String() string {
	return [...]string{"text", "bool", "int", "uint", "duration"}[k]
}

// check reports what is wrong with a value, as the end of a sentence.
func (k kind) check(s string) error {
	var err error
	want := ""
	switch k {
	case text:
		return nil
	case boolean:
		_, err = strconv.ParseBool(s)
		want = "true or false"
	case integer:
		_, err = strconv.ParseInt(s, 0, 64)
		want = "a whole number"
	case natural:
		_, err = strconv.ParseUint(s, 0, 32)
		want = "a whole number from 0 to 4294967295"
	case duration:
		_, err = time.ParseDuration(s)
		want = "a duration such as 500ms, 10s or 5m"
	}
	if err != nil {
		return fmt.Errorf("%q is not %s", s, want)
	}
	return nil
}

// check reports what is wrong with a value of this flag.
func (f *flagSpec) check(s string) error {
	if err := f.kind.check(s); err != nil {
		return err
	}
	if len(f.choices) > 0 && s != f.preset && !slices.Contains(f.choices, s) {
		return fmt.Errorf("%q is not %s", s, either(f.choices))
	}
	return nil
}

// asksForDefault reports whether the value is etcd's default in other words.
func (f *flagSpec) asksForDefault(s string) bool {
	if s == f.preset {
		return true
	}
	switch f.kind {
	case boolean:
		a, _ := strconv.ParseBool(s)
		b, _ := strconv.ParseBool(f.preset)
		return a == b
	case natural, integer:
		a, _ := strconv.ParseInt(s, 0, 64)
		b, _ := strconv.ParseInt(f.preset, 0, 64)
		return a == b
	case duration:
		a, _ := time.ParseDuration(s)
		b, _ := time.ParseDuration(f.preset)
		return a == b
	}
	return s == "" && f.preset == "*" // etcd reads an empty list as "all"
}

// complete lets the shell offer a flag's choices.
func (f *flagSpec) complete(cmd *cobra.Command) {
	hints := f.choices
	if f.hints != nil {
		hints = f.hints
	}
	if len(hints) > 0 {
		_ = cmd.RegisterFlagCompletionFunc(f.name, cobra.FixedCompletions(hints, cobra.ShellCompDirectiveNoFileComp))
	}
}

// either writes "a or b" or "one of a, b, c".
func either(words []string) string {
	if len(words) <= 2 {
		return strings.Join(words, " or ")
	}
	return "one of " + strings.Join(words, ", ")
}

// flagTable holds every flag that `serve` knows, by name.
type flagTable map[string]*flagSpec

func newFlagTable() flagTable {
	t := make(flagTable)
	add := func(specs []flagSpec, status status) {
		for _, f := range specs {
			f.status = status
			t[f.name] = &f
		}
	}
	add(servedFlags, served)
	add(ownFlags, served)
	add(ignoredFlags, ignored)
	add(refusedFlags, refused)
	return t
}

func (t flagTable) names() []string {
	names := make([]string, 0, len(t))
	for name := range t {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// flagValue holds one flag's text on a command line. It implements pflag.Value.
type flagValue struct {
	spec *flagSpec
	text string
}

func (v *flagValue) Set(s string) error {
	if err := v.spec.check(s); err != nil {
		return err
	}
	if v.spec.repeats && v.text != "" {
		s = v.text + "," + s
	}
	v.text = s
	return nil
}

func (v *flagValue) String() string { return v.text }
func (v *flagValue) Type() string   { return v.spec.kind.String() }

// on reads a boolean flag.
func (v *flagValue) on() bool {
	b, _ := strconv.ParseBool(v.text)
	return b
}
