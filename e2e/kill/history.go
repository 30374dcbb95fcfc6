package kill

import (
	"fmt"
	"sync"
	"time"
)

// kind is what an operation did to a key.
type kind int

const (
	get  kind = iota // linearizable read
	put              // unconditional write
	swap             // write if the key still has the expected mod revision
)

func (k kind) String() string { return [...]string{"get", "put", "swap"}[k] }

// operation is one request for one key as its client saw it. A transaction
// that writes two keys is two operations with the same times and pair set.
type operation struct {
	client  int
	kind    kind
	key     string
	value   string // written by put and swap; unique in the whole run
	expect  int64  // swap: mod revision that the key must have
	pair    string // other key of the same transaction, if any
	call    time.Duration
	ret     time.Duration
	err     error  // not nil: it may have happened or not
	header  int64  // revision of the response header
	applied bool   // put and swap: the value was written
	found   bool   // get and refused swap: the key existed
	read    string // get and refused swap: its value
	modRev  int64  // get and refused swap: its mod revision
}

// revision is where the operation's write stands in the order of all writes.
func (o *operation) revision() int64 { return o.header }

func (o *operation) String() string {
	s := fmt.Sprintf("client %d %v %s [%v, %v]", o.client, o.kind, o.key, o.call, o.ret)
	if o.kind != get {
		s += fmt.Sprintf(" value %s", o.value)
	}
	if o.kind == swap {
		s += fmt.Sprintf(" if at %d", o.expect)
	}
	switch {
	case o.err != nil:
		return s + fmt.Sprintf(": no answer: %v", o.err)
	case o.applied:
		return s + fmt.Sprintf(": written at %d", o.header)
	case o.found:
		return s + fmt.Sprintf(": found %s of %d at %d", o.read, o.modRev, o.header)
	}
	return s + fmt.Sprintf(": nothing there at %d", o.header)
}

// history collects the operations of all clients of a round.
type history struct {
	start time.Time

	mu  sync.Mutex
	ops []*operation
}

func (h *history) now() time.Duration { return time.Since(h.start) }

func (h *history) add(ops ...*operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, ops...)
}

// lastAnswered returns, per client, when it last got an answer.
func (h *history) lastAnswered() map[int]time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	last := make(map[int]time.Duration)
	for _, o := range h.ops {
		if o.err == nil {
			last[o.client] = max(last[o.client], o.ret)
		}
	}
	return last
}

// answered counts the operations with and without an answer.
func (h *history) answered() (yes, no int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range h.ops {
		if o.err == nil {
			yes++
		} else {
			no++
		}
	}
	return yes, no
}
