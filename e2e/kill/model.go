package kill

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// checkTimeout bounds the search for a linearization of one round.
const checkTimeout = time.Minute

// register is the state of one key. The zero value is a key that was never
// written.
type register struct {
	value  string
	modRev int64
}

// model is a register per key that knows revisions. With blind set it
// ignores them: the same history must make sense from the values alone.
func model(blind bool) porcupine.Model {
	return porcupine.Model{
		Partition: partition,
		Init:      func() any { return register{} },
		Step: func(state, input, _ any) (bool, any) {
			o := input.(*operation)
			return step(state.(register), o, blind)
		},
		Equal:             func(a, b any) bool { return a == b },
		DescribeOperation: func(input, _ any) string { return input.(*operation).String() },
	}
}

func partition(ops []porcupine.Operation) [][]porcupine.Operation {
	byKey := make(map[string][]porcupine.Operation)
	for _, op := range ops {
		key := op.Input.(*operation).key
		byKey[key] = append(byKey[key], op)
	}
	var parts [][]porcupine.Operation
	for _, part := range byKey {
		parts = append(parts, part)
	}
	return parts
}

// step says whether o, with the answer it got, can happen in state s.
func step(s register, o *operation, blind bool) (bool, register) {
	if !o.applied { // a read, or a swap that was refused and read
		same := o.read == s.value && o.found == (s != register{})
		if !blind {
			same = same && o.modRev == s.modRev && o.header >= s.modRev
			same = same && (o.kind == get || o.expect != s.modRev)
		}
		return same, s
	}
	next := register{value: o.value, modRev: o.revision()}
	if blind {
		next.modRev = 1 // written; any number but 0
		return true, next
	}
	ok := o.revision() > s.modRev && (o.kind != swap || o.expect == s.modRev)
	return ok, next
}

// checkLinearizable searches an order of the operations, per key, that
// explains all answers (I4).
func checkLinearizable(ops []*operation, blind bool) error {
	var history []porcupine.Operation
	for _, o := range ops {
		if o.err == nil {
			history = append(history, porcupine.Operation{ClientId: o.client, Input: o, Call: int64(o.call), Return: int64(o.ret)})
		}
	}
	result, info := porcupine.CheckOperationsVerbose(model(blind), history, checkTimeout)
	switch result {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		return fmt.Errorf("no verdict on linearizability within %v for %d operations", checkTimeout, len(history))
	}
	return fmt.Errorf("not linearizable (revisions ignored: %v):\n%s", blind, stuck(info))
}

// stuck shows the history of the first key for which no order was found.
func stuck(info porcupine.LinearizationInfo) string {
	for _, orders := range info.PartialLinearizationsOperations() {
		longest := slices.MaxFunc(orders, func(a, b []porcupine.Operation) int { return len(a) - len(b) })
		var lines []string
		for _, op := range longest[max(0, len(longest)-10):] {
			lines = append(lines, "  "+op.Input.(*operation).String())
		}
		if len(lines) > 0 {
			return "the longest order found for a key ends with\n" + strings.Join(lines, "\n")
		}
	}
	return "(no order at all)"
}
