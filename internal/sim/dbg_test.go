package sim

import (
	"os"
	"strconv"
	"testing"
)

func TestDbg(t *testing.T) {
	seed, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64)
	if err != nil {
		t.Skip()
	}
	f, _ := os.Create("/tmp/trace" + os.Getenv("SEED"))
	r := Run(Options{Seed: seed, Trace: f, Only: os.Getenv("ONLY")})
	if r.Failure != nil {
		x := r.Failure.Text
		t.Log(r.Failure.At, r.Failure.Checker, x[:min(len(x), 6000)])
	}
}
