package load

import "testing"

func TestNumberedKey(t *testing.T) {
	key := numberedKey(nil, "read/", 120)
	if got, want := string(key), "read/00000120"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := string(numberedKey(key, "put/", 99_999_999)), "put/99999999"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPrefixEnd(t *testing.T) {
	if got, want := string(prefixEnd("large/")), "large0"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
