//go:build !mutants

package mutant

import "errors"

// Enabled reports whether this binary has mutants in it.
const Enabled = false

// On is constantly false in this build.
func On(Name) bool { return false }

// Select fails, unless it selects nothing: this build has no mutants.
func Select(names ...Name) error {
	if len(names) == 0 {
		return nil
	}
	return errors.New("this binary has no mutants: build it with -tags mutants")
}
