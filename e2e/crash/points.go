package crash

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// pointsDefault is how many operations a run kills at.
const pointsDefault = "40"

// size says at which operations of a run to kill: a number of them, or one part of
// all of them.
type size struct {
	count       int // 0: by part
	part, parts int // the operations whose number is part modulo parts
}

// parseSize reads "40", "all" (or "0"), or "2/3" for the second third of all.
func parseSize(text string) (size, error) {
	if text == "all" || text == "0" {
		return size{part: 1, parts: 1}, nil
	}
	if part, parts, ok := strings.Cut(text, "/"); ok {
		k, err1 := strconv.Atoi(part)
		n, err2 := strconv.Atoi(parts)
		if err1 == nil && err2 == nil && 1 <= k && k <= n {
			return size{part: k, parts: n}, nil
		}
	}
	if n, err := strconv.Atoi(text); err == nil && n > 0 {
		return size{count: n}, nil
	}
	return size{}, fmt.Errorf("points %q: want a number, all, or K/N for a part of all", text)
}

const (
	edgePoints  = 3 // always chosen at the beginning and at the end
	classPoints = 4 // at least, of each required class, if there are so many
)

// choose picks operations of a run, by number from 1, in ascending order.
//
// A call that a run makes n times on one file is chosen about as often as √n that it
// makes once: filling a file with zeros is one story, not a thousand.
func (s size) choose(ops []Operation, seed uint64) []int {
	chosen := make(map[int]bool)
	if s.count == 0 {
		for n := s.part; n <= len(ops); n += s.parts {
			chosen[n] = true
		}
		return slices.Sorted(maps.Keys(chosen))
	}
	for i := range min(edgePoints, len(ops)) {
		chosen[i+1], chosen[len(ops)-i] = true, true
	}
	order := drawOrder(ops, rand.New(rand.NewPCG(seed, 0)))
	classes := make(map[Class]int)
	for n := range chosen {
		classes[ops[n-1].Class()]++
	}
	for _, n := range order {
		class := ops[n-1].Class()
		if chosen[n] || classes[class] >= classPoints || len(chosen) >= s.count || !slices.Contains(requiredClasses, class) {
			continue
		}
		chosen[n] = true
		classes[class]++
	}
	for _, n := range order {
		if len(chosen) >= s.count {
			break
		}
		chosen[n] = true
	}
	return slices.Sorted(maps.Keys(chosen))
}

// reserve is what else to kill at while a required class is lacking, in the order of
// trial: where a run has an operation of that class, the next one may have another.
func reserve(ops []Operation, points []int, seed uint64) []int {
	order := drawOrder(ops, rand.New(rand.NewPCG(seed, 1)))
	return slices.DeleteFunc(order, func(n int) bool {
		return slices.Contains(points, n) || !slices.Contains(requiredClasses, ops[n-1].Class())
	})
}

// drawOrder shuffles the numbers of all operations by weight (Efraimidis and Spirakis).
func drawOrder(ops []Operation, rng *rand.Rand) []int {
	times := make(map[Operation]int)
	for _, op := range ops {
		times[op]++
	}
	keys := make([]float64, len(ops))
	order := make([]int, len(ops))
	for i, op := range ops {
		weight := 1 / math.Sqrt(float64(times[op]))
		keys[i] = math.Log(rng.Float64()) / weight
		order[i] = i + 1
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(keys[b-1], keys[a-1]) })
	return order
}

// tally counts what a test killed before.
type tally struct {
	kinds   map[string]int
	classes map[Class]int
	killed  int
	beyond  int // points behind the end of their run
	// recoveries were to be killed, recovered are those that came through before.
	recoveries, recovered int
}

func newTally() *tally { return &tally{kinds: make(map[string]int), classes: make(map[Class]int)} }

// add takes note of one traced run that was to be killed at an operation. The run must
// have been shorter, or the kill must have happened (I1).
func (y *tally) add(tracer *Tracer, killAt int) error {
	if err := tracer.Err(); err != nil {
		return err
	}
	op, killed := tracer.Killed()
	if !killed {
		y.beyond++
		if n := len(tracer.Operations()); n >= killAt {
			return fmt.Errorf("the process lived through operation %d of %d", killAt, n)
		}
		return nil
	}
	y.killed++
	y.kinds[op.Kind]++
	y.classes[op.Class()]++
	return nil
}

// addRecovery takes note of a second start that was to be killed.
func (y *tally) addRecovery(tracer *Tracer) error {
	y.recoveries++
	if _, killed := tracer.Killed(); !killed {
		y.recovered++
	}
	return tracer.Err()
}

// enough is the number of points from which each required class must occur, and
// beyondPercent how many of them may be behind the end.
const (
	enough        = 40
	beyondPercent = 15
)

// lacks reports whether a test that is large enough has not killed before a class.
func (y *tally) lacks(class Class) bool {
	return y.killed+y.beyond >= enough && y.classes[class] == 0
}

// judge says what makes a whole test worthless (I6).
func (y *tally) judge() error {
	var errs []error
	total := y.killed + y.beyond
	if limit := max(edgePoints, total*beyondPercent/100); y.beyond > limit {
		errs = append(errs, fmt.Errorf("%d of %d points were behind the end of their run, at most %d may be", y.beyond, total, limit))
	}
	for _, class := range requiredClasses {
		if y.lacks(class) {
			errs = append(errs, fmt.Errorf("in %d points nothing was killed before an operation of class %s", total, class))
		}
	}
	if total >= enough && y.recoveries > 0 && y.recovered == y.recoveries {
		errs = append(errs, fmt.Errorf("none of %d recoveries was killed", y.recoveries))
	}
	return errors.Join(errs...)
}

// String is the table of what was killed before.
func (y *tally) String() string {
	var b strings.Builder
	if y.recoveries > 0 {
		fmt.Fprintf(&b, "%d of %d recoveries killed, ", y.recoveries-y.recovered, y.recoveries)
	}
	fmt.Fprintf(&b, "%d points were behind the end, killed %d times before:", y.beyond, y.killed)
	for _, kind := range slices.Sorted(maps.Keys(y.kinds)) {
		fmt.Fprintf(&b, "\n\t%-16s %4d", kind, y.kinds[kind])
	}
	return b.String()
}
