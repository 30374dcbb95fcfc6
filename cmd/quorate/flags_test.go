package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// Goal: Q2, every flag of etcd 3.7 has a fate here. Method: etcd's own list, as
// `etcd --help` of 3.7.3 prints it, against the tables, in both directions.
func TestEveryEtcdFlagIsKnown(t *testing.T) {
	raw, err := os.ReadFile("testdata/etcd-3.7.flags")
	if err != nil {
		t.Fatal(err)
	}
	table := newFlagTable()
	seen := make(map[string]bool)
	for line := range strings.Lines(string(raw)) {
		name := strings.TrimSpace(line)
		if name == "" || strings.HasPrefix(name, "#") {
			continue
		}
		seen[name] = true
		if table[name] == nil {
			t.Errorf("--%s of etcd is neither served, ignored nor refused", name)
		}
	}
	if len(seen) < 110 {
		t.Fatalf("the list has %d flags, etcd has more", len(seen))
	}
	for name := range table {
		if !seen[name] && !isOwnFlag(name) {
			t.Errorf("--%s is not a flag of etcd", name)
		}
	}
}

// Goal: the tables keep their own rules. Method: look at each entry.
func TestFlagTables(t *testing.T) {
	lists := [][]flagSpec{servedFlags, ignoredFlags, refusedFlags, ownFlags}
	count := 0
	for _, list := range lists {
		count += len(list)
		for _, f := range list {
			if f.preset != "" || f.kind != text {
				if err := f.check(f.preset); err != nil {
					t.Errorf("default of --%s: %v", f.name, err)
				}
			}
			if !f.asksForDefault(f.preset) {
				t.Errorf("--%s does not know its own default", f.name)
			}
		}
	}
	if table := newFlagTable(); len(table) != count {
		t.Errorf("%d flags in the lists, %d in the table: one is there twice", count, len(table))
	}
	for _, f := range slices.Concat(servedFlags, refusedFlags, ownFlags) {
		if f.note == "" {
			t.Errorf("--%s has no text", f.name)
		}
	}
}

// Goal: Q3, each refused flag is an error unless it asks for etcd's default. Method: set
// each to something else, then to its default.
func TestRefusedFlags(t *testing.T) {
	other := map[kind]string{text: "x", natural: "77", integer: "77", duration: "77s"}
	for _, f := range refusedFlags {
		value := other[f.kind]
		if f.kind == boolean {
			value = map[string]string{"true": "false", "false": "true"}[f.preset]
		}
		s := newSettings(newFlagTable())
		if err := s.put(f.name, value, "--"+f.name); err != nil {
			t.Fatal(err)
		}
		_, err := resolve(s)
		if err == nil || !strings.HasPrefix(err.Error(), "--"+f.name+" is refused because ") {
			t.Errorf("--%s %s: %v", f.name, value, err)
		}
		if err := s.put(f.name, f.preset, "--"+f.name); err != nil {
			t.Fatal(err)
		}
		if _, err := resolve(s); err != nil {
			t.Errorf("--%s with its default: %v", f.name, err)
		}
	}
}

// Goal: each ignored flag is named in a warning. Method: set each.
func TestIgnoredFlagsWarn(t *testing.T) {
	for _, f := range ignoredFlags {
		s := newSettings(newFlagTable())
		if err := s.put(f.name, f.preset, "ETCD_X"); err != nil {
			t.Fatal(err)
		}
		if _, err := resolve(s); err != nil {
			t.Errorf("--%s: %v", f.name, err)
		}
		w := s.warnings()
		if len(w) != 1 || !strings.HasPrefix(w[0], "--"+f.name+" (from ETCD_X) has no effect yet") {
			t.Errorf("--%s warns %q", f.name, w)
		}
	}
}

func TestFlagKinds(t *testing.T) {
	for _, c := range []struct {
		kind      kind
		good, bad string
	}{
		{boolean, "true false 1 0 T", "yes maybe 2"},
		{integer, "0 -1 77 0x10", "1.5 many 99999999999999999999"},
		{natural, "0 77 4294967295", "-1 4294967296 1e3"},
		{duration, "0s 1h30m 5ms -3s", "5 m 1d"},
	} {
		for _, s := range strings.Fields(c.good) {
			if err := c.kind.check(s); err != nil {
				t.Errorf("%v: %v", c.kind, err)
			}
		}
		for _, s := range append(strings.Fields(c.bad), "") {
			if c.kind.check(s) == nil {
				t.Errorf("%v accepts %q", c.kind, s)
			}
		}
	}
}

func TestTwoDashes(t *testing.T) {
	root := newRoot(&process{})
	for _, c := range []struct{ in, want string }{
		{"-name a", "--name a"},
		{"--name=a -data-dir=b", "--name=a --data-dir=b"},
		{"-name -name", "--name -name"}, // the second is the name
		{"serve -pre-vote -name x", "serve --pre-vote --name x"},
		{"-quota-backend-bytes -1", "--quota-backend-bytes -1"},
		{"version -o json", "version -o json"},
		{"-h", "-h"},
		{"-name a -- -name b", "--name a -- -name b"},
		{"- -name", "- --name"},
	} {
		got := strings.Join(twoDashes(strings.Fields(c.in), func(n string) bool { return takesValue(root, n) }), " ")
		if got != c.want {
			t.Errorf("%s became %s, want %s", c.in, got, c.want)
		}
	}
}

func TestNearest(t *testing.T) {
	names := newFlagTable().names()
	for _, c := range []struct{ word, want string }{
		{"nmae", "name"},
		{"data-dri", "data-dir"},
		{"datadir", "data-dir"},
		{"listen-client-url", "listen-client-urls"},
		{"initial-cluster-sate", "initial-cluster-state"},
		{"heartbeat", "heartbeat-interval"},
		{"max-wal", "max-wals"},
		{"xyzzy", ""},
	} {
		if got, _ := nearest(c.word, names); got != c.want {
			t.Errorf("nearest to %s is %q, want %q", c.word, got, c.want)
		}
	}
}
