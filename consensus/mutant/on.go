//go:build mutants

package mutant

import "fmt"

// Enabled reports whether this binary has mutants in it.
const Enabled = true

var selected map[Name]bool

// On reports whether a mutant is selected.
func On(name Name) bool { return selected[name] }

// Select switches exactly these mutants on. An unknown name is an error, and
// then nothing changes.
func Select(names ...Name) error {
	set := make(map[Name]bool, len(names))
	for _, name := range names {
		if !known(name) {
			return fmt.Errorf("unknown mutant %q", name)
		}
		set[name] = true
	}
	selected = set
	return nil
}

func known(name Name) bool {
	for _, m := range Table {
		if m.Name == name {
			return true
		}
	}
	return false
}
