package mutant

import "testing"

// TestTable: names are unique, and every mutant says what it does wrong.
func TestTable(t *testing.T) {
	seen := map[Name]bool{}
	for _, m := range Table {
		if seen[m.Name] || m.Name == "" || m.Bug == "" {
			t.Errorf("mutant %q: seen before %v, bug %q", m.Name, seen[m.Name], m.Bug)
		}
		seen[m.Name] = true
	}
}

// TestSelect: selection replaces, refuses unknown names, and works only in a binary
// that has mutants.
func TestSelect(t *testing.T) {
	if err := Select("no-such-bug"); err == nil {
		t.Error("an unknown mutant was selected")
	}
	if err := Select(RaftCountLearner); (err == nil) != Enabled {
		t.Errorf("Select: %v, mutants enabled: %v", err, Enabled)
	}
	if On(RaftCountLearner) != Enabled || On(RaftCommitOldEpoch) {
		t.Error("On does not tell what is selected")
	}
	if err := Select(); err != nil || On(RaftCountLearner) {
		t.Errorf("Select of nothing: %v", err)
	}
}
