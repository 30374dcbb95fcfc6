package kill

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// event is one change as the watch reported it.
type event struct {
	key, value string
	revision   int64
	seen       time.Duration // when the watch delivered it, on the history's clock
}

// errorLimit is how many violations of one kind are reported.
const errorLimit = 5

// resolve replaces missing answers by what the watch knows (see the package
// comment) and checks that watch and answers agree (I1).
func resolve(ops []*operation, events []event) error {
	var errs []error
	byValue := make(map[string]event)
	for _, e := range events {
		if first, twice := byValue[e.value]; twice {
			errs = append(errs, fmt.Errorf("value %s was written twice: at %d and at %d", e.value, first.revision, e.revision))
		}
		byValue[e.value] = e
	}
	attempted := make(map[string]bool)
	for _, o := range ops {
		if o.kind == get {
			continue
		}
		attempted[o.value] = true
		e, happened := byValue[o.value]
		switch {
		case o.err != nil && happened:
			o.err, o.applied, o.header = nil, true, e.revision
			o.ret = max(o.call, e.seen)
		case o.err == nil && o.applied && !happened:
			errs = append(errs, fmt.Errorf("an acknowledged write is lost: %v", o))
		case o.err == nil && o.applied && (e.key != o.key || e.revision != o.header):
			errs = append(errs, fmt.Errorf("acknowledged as %v, but the watch says key %s at %d", o, e.key, e.revision))
		case o.err == nil && !o.applied && happened:
			errs = append(errs, fmt.Errorf("refused, but written at %d: %v", e.revision, o))
		}
	}
	for _, e := range events {
		if !attempted[e.value] {
			errs = append(errs, fmt.Errorf("nobody wrote %s to %s, which the watch shows at %d", e.value, e.key, e.revision))
		}
	}
	return joinSome(append(errs, checkPairs(ops)...))
}

// checkPairs checks that both writes of a transaction have one revision.
func checkPairs(ops []*operation) []error {
	type half struct {
		client int
		call   time.Duration
	}
	first := make(map[half]*operation)
	var errs []error
	for _, o := range ops {
		if o.pair == "" {
			continue
		}
		id := half{o.client, o.call}
		other := first[id]
		if other == nil {
			first[id] = o
			continue
		}
		if (o.err == nil) != (other.err == nil) || o.applied != other.applied || o.err == nil && o.header != other.header {
			errs = append(errs, fmt.Errorf("half a transaction: %v, but %v", o, other))
		}
	}
	return errs
}

// checkContiguous checks that the watch showed every revision from first to
// last, in order and without repetition (I2).
func checkContiguous(events []event, first, last int64) error {
	next := first
	for i, e := range events {
		switch {
		case e.revision == next:
			next++
		case i > 0 && e.revision == events[i-1].revision && e.key != events[i-1].key:
			// another key of the same transaction
		default:
			return fmt.Errorf("the watch shows revision %d where %d should be (key %s, event %d)", e.revision, next, e.key, i)
		}
	}
	if next != last+1 {
		return fmt.Errorf("the watch ends at revision %d, the store is at %d", next-1, last)
	}
	return nil
}

// checkRealTime checks that revisions follow real time (I3).
func checkRealTime(ops []*operation) error {
	answered := slices.DeleteFunc(slices.Clone(ops), func(o *operation) bool { return o.err != nil })
	byReturn := slices.Clone(answered)
	slices.SortFunc(answered, func(a, b *operation) int { return cmp.Compare(a.call, b.call) })
	slices.SortFunc(byReturn, func(a, b *operation) int { return cmp.Compare(a.ret, b.ret) })
	var errs []error
	var newest *operation // highest revision among operations answered so far
	done := 0
	for _, o := range answered {
		for done < len(byReturn) && byReturn[done].ret < o.call {
			if newest == nil || byReturn[done].header > newest.header {
				newest = byReturn[done]
			}
			done++
		}
		if newest == nil {
			continue
		}
		if o.applied && o.header <= newest.header || o.header < newest.header {
			errs = append(errs, fmt.Errorf("revision goes back: %v came after %v", o, newest))
		}
	}
	return joinSome(errs)
}

// joinSome joins errors, at most errorLimit of them, and says how many more
// there are.
func joinSome(errs []error) error {
	if len(errs) <= errorLimit {
		return errors.Join(errs...)
	}
	more := fmt.Errorf("and %d more", len(errs)-errorLimit)
	return errors.Join(append(slices.Clone(errs[:errorLimit]), more)...)
}
