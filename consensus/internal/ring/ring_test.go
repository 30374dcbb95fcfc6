package ring

import (
	"testing"

	"pgregory.net/rapid"
)

// Goal: a ring is a queue, and gives memory back. Method: drive it and a slice with the same
// operations.
func TestRingAgainstSlice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r Ring[int]
		var s []int
		next := 0
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				for range rapid.SampledFrom([]int{1, 3, 700}).Draw(t, "n") {
					r.Push(next)
					s = append(s, next)
					next++
				}
			},
			"front": func(t *rapid.T) {
				k := rapid.IntRange(0, len(s)).Draw(t, "k")
				r.PopFront(k)
				r.PopFront(0)
				s = s[k:]
				if len(r.buf) > 8*len(s)+lengthShrink {
					t.Fatalf("%d places for %d elements after a pop without a push", len(r.buf), len(s))
				}
			},
			"back": func(t *rapid.T) {
				k := rapid.IntRange(0, len(s)).Draw(t, "k")
				r.PopBack(k)
				s = s[:len(s)-k]
			},
			"": func(t *rapid.T) {
				if r.Len() != len(s) {
					t.Fatalf("length %d, want %d", r.Len(), len(s))
				}
				for i := range s {
					if *r.At(i) != s[i] {
						t.Fatalf("element %d is %d, want %d", i, *r.At(i), s[i])
					}
				}
			},
		})
	})
}
