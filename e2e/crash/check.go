package crash

import (
	"errors"
	"fmt"
	"strings"
)

// history is what one client did, one request after the other.
type history struct {
	acknowledged *state // after every acknowledged step
	steps        int    // how many those are
	open         *step  // sent without an answer; nil if there is none
	wrong        error  // the first answer that cannot be; no later kill excuses it
}

func newHistory() *history { return &history{acknowledged: newState()} }

// ack takes note of an answer. The revision in it is part of what is promised.
func (h *history) ack(s *step, revision int64) error {
	s.apply(h.acknowledged)
	h.steps++
	h.open = nil
	if revision != h.acknowledged.revision && h.wrong == nil {
		h.wrong = fmt.Errorf("%s was acknowledged at revision %d, want %d", s.name, revision, h.acknowledged.revision)
	}
	return h.wrong
}

// check compares what was found with what may be there: every acknowledged step, and
// the open one wholly or not at all (I2, I3).
func (h *history) check(found *state) error {
	if h.wrong != nil {
		return h.wrong
	}
	without := found.diff(h.acknowledged)
	if len(without) == 0 {
		return nil
	}
	text := fmt.Sprintf("after %d acknowledged steps:\n\t%s", h.steps, strings.Join(without, "\n\t"))
	if h.open == nil {
		return errors.New(text)
	}
	happened := h.acknowledged.clone()
	h.open.apply(happened)
	with := found.diff(happened)
	if len(with) == 0 {
		h.acknowledged, h.open = happened, nil
		return nil
	}
	return fmt.Errorf("%s\nor, if this happened, which had no answer: %s:\n\t%s", text, h.open.name, strings.Join(with, "\n\t"))
}
