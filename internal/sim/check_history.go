package sim

import (
	"fmt"
	"reflect"
	"sort"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/quorate/quorate/internal/store"
)

// The history of a shard is judged twice. Here, in linear time, by indexes and
// revisions: what an operation saw is the state at one index, and that index is not
// before anything that had been acknowledged when the operation began. And blind to
// them (checkBlind): the values alone must make sense, key by key.

// acknowledge judges a command's answer and notes it.
func (f *shardFacts) acknowledge(s *Sim, op *operation, r *store.Result) {
	if r.Index <= op.after {
		s.violate("real-time", "shard %d %s of %s is answered at index %d, %d had been acknowledged before it began", f.id, op.kind, op.client.name, r.Index, op.after)
	}
	if r.Request != op.request {
		s.violate("answer", "shard %d %s of %s is answered with the result of request %v, not %v", f.id, op.kind, op.client.name, r.Request, op.request)
	}
	f.acked = max(f.acked, r.Index)
}

// read judges a range that a node answered from its state at an applied index.
func (f *shardFacts) read(s *Sim, op *operation, applied uint64, resp *store.RangeResponse, err error) {
	if op.linearizable {
		if applied < op.after {
			s.violate("stale-read", "shard %d %s of %s was answered by %s at index %d, %d had been acknowledged before it began",
				f.id, op.kind, op.client.name, op.node.name(), applied, op.after)
		}
		f.acked = max(f.acked, applied)
	}
	if applied == 0 {
		return
	}
	want, wantErr := f.oracle.at(applied).view.Range(&op.ranged)
	if errorText(err) != errorText(wantErr) || !reflect.DeepEqual(resp, want) {
		s.violate("read", "shard %d %s of %s at %s, index %d: answer %+v %v, the history has %+v %v",
			f.id, op.kind, op.client.name, op.node.name(), applied, resp, err, want, wantErr)
	}
}

// blindOp is an operation on one key as a register sees it.
type blindOp struct {
	kind      blindKind
	value     string // written; "" by a deletion
	expect    string // blindSwap: what the key must hold
	call, ret time.Duration
	known     bool   // the outcome is known
	swapped   bool   // blindSwap: whether it did
	seen      string // blindGet, and blindSwap that did not
	seenKnown bool
	client    int
}

type blindKind uint8

const (
	blindGet blindKind = iota
	blindWrite
	blindSwap
)

// register is the model: one key, whose state is its value, "" when it is missing.
var register = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, _ any) (bool, any) {
		op, have := input.(*blindOp), state.(string)
		switch op.kind {
		case blindWrite:
			return true, op.value
		case blindSwap:
			if !op.known {
				if have == op.expect {
					return true, op.value
				}
				return true, have
			}
			if op.swapped {
				return have == op.expect, op.value
			}
			return have != op.expect && (!op.seenKnown || have == op.seen), have
		}
		return have == op.seen, have
	},
	Equal: func(a, b any) bool { return a == b },
}

// blindTime bounds the search of one key's history. A history that takes longer is
// counted as undecided; the check by indexes has judged it anyway.
const blindTime = 2 * time.Second

// checkBlind looks for a linear order of each key's operations.
func (f *shardFacts) checkBlind(s *Sim) {
	for _, key := range sorted(f.blind) {
		ops := relevant(f.blind[key])
		history := make([]porcupine.Operation, 0, len(ops))
		for i := range ops {
			history = append(history, porcupine.Operation{
				ClientId: ops[i].client, Input: &ops[i], Call: int64(ops[i].call), Return: int64(ops[i].ret),
			})
		}
		switch porcupine.CheckOperationsTimeout(register, history, blindTime) {
		case porcupine.Illegal:
			s.violate("linearizability", "shard %d key %s: no order explains its %d operations\n%s", f.id, key, len(ops), listing(ops))
		case porcupine.Unknown:
			s.report.count("check blind undecided")
		}
		s.report.count("check blind key")
	}
}

// relevant leaves out operations of unknown outcome whose value nobody saw: with or
// without them the rest has an order or has none. It would cost the search dear to
// find that out.
func relevant(ops []blindOp) []blindOp {
	seen := make(map[string]bool)
	for again := true; again; {
		before := len(seen)
		for i := range ops {
			op := &ops[i]
			if op.known {
				seen[op.seen] = true
			}
			if op.kind == blindSwap && (op.known && op.swapped || !op.known && seen[op.value]) {
				seen[op.expect] = true
			}
		}
		again = len(seen) > before
	}
	kept := make([]blindOp, 0, len(ops))
	for i := range ops {
		if op := &ops[i]; op.known || op.kind != blindGet && (op.value == "" || seen[op.value]) {
			kept = append(kept, *op)
		}
	}
	return kept
}

func listing(ops []blindOp) string {
	sort.Slice(ops, func(i, j int) bool { return ops[i].call < ops[j].call })
	text := ""
	for i := range ops {
		op := &ops[i]
		text += fmt.Sprintf("%12v %12v client %d %s value %q expect %q known %v swapped %v seen %q\n", op.call, op.ret, op.client,
			[]string{"get", "write", "swap"}[op.kind], op.value, op.expect, op.known, op.swapped, op.seen)
	}
	return text
}
