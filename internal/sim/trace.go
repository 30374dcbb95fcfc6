package sim

import (
	"bufio"
	"fmt"
	"io"
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/shard"
)

// tracer writes one line per event, in the columns that the package comment
// describes. A nil tracer writes nothing.
type tracer struct {
	w    *bufio.Writer
	kind func(shard.ID, consensus.MessageKind) string // names a message's kind
}

func newTracer(w io.Writer, kind func(shard.ID, consensus.MessageKind) string) *tracer {
	if w == nil {
		return nil
	}
	return &tracer{w: bufio.NewWriterSize(w, 64<<10), kind: kind}
}

// line traces what belongs to no shard.
func (t *tracer) line(now time.Duration, who, what, format string, args ...any) {
	if t == nil {
		return
	}
	t.columns(now, who, 0, "-", 0, 0, what, fmt.Sprintf(format, args...))
}

func (t *tracer) columns(now time.Duration, who string, id shard.ID, role string, epoch consensus.Epoch, commit consensus.Index, what, text string) {
	fmt.Fprintf(t.w, "%12.6f %-4s s%-2d %-9s e%-4d c%-6d %-10s %s\n",
		now.Seconds(), who, id, role, epoch, commit, what, text)
}

// message traces a consensus message that leaves.
func (t *tracer) message(now time.Duration, from, to *simNode, m *consensus.Message) {
	if t == nil {
		return
	}
	text := fmt.Sprintf("%s to %s index %d/%d commit %d round %d", t.kind(shard.ID(m.Group), m.Kind), to.name(), m.Index, m.IndexEpoch, m.Commit, m.Round)
	if n := len(m.Entries); n > 0 {
		text += fmt.Sprintf(" entries [%d,%d]", m.Entries[0].Index, m.Entries[n-1].Index)
	}
	if m.Reject {
		text += fmt.Sprintf(" reject hint %d/%d", m.Hint, m.HintEpoch)
	}
	t.replica(now, from, shard.ID(m.Group), "send", text)
}

// role traces a replica's new role, leader, epoch or configuration.
func (t *tracer) role(now time.Duration, n *simNode, id shard.ID, st *consensus.Status) {
	if t == nil {
		return
	}
	c := &st.Configuration
	text := fmt.Sprintf("leader %v voters %v outgoing %v learners %v", st.Leader, c.Voters, c.Outgoing, c.Learners)
	t.columns(now, n.name(), id, st.Role.String(), st.HardState.Epoch, st.Commit, "role", text)
}

// replica traces something that happens at a shard's replica.
func (t *tracer) replica(now time.Duration, n *simNode, id shard.ID, what, text string) {
	if t == nil {
		return
	}
	r, ok := n.host.Replica(id)
	if !ok {
		t.columns(now, n.name(), id, "-", 0, 0, what, text)
		return
	}
	st := r.Status()
	t.columns(now, n.name(), id, st.Role.String(), st.HardState.Epoch, st.Commit, what, text)
}

// client traces what a client does.
func (t *tracer) client(now time.Duration, name string, id shard.ID, what, format string, args ...any) {
	if t == nil {
		return
	}
	t.columns(now, name, id, "-", 0, 0, what, fmt.Sprintf(format, args...))
}

func (t *tracer) flush() {
	if t != nil {
		_ = t.w.Flush() // the trace's reader is gone: nothing to say it to
	}
}
