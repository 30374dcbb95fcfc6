package main

import "testing"

// Goal: the committed files are what their sources say. Method: make them again.
func TestCommittedFiles(t *testing.T) {
	if err := run(t.Context(), "../../api", true); err != nil {
		t.Error(err)
	}
}
