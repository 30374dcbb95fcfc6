package differential

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/codes"
)

// A run of fullRun requests must reach every required mark fullFloor times;
// a shorter run its share. Marks listed in rare cost seconds or megabytes
// each and have a floor of their own.
const (
	fullRun      = 50_000
	fullFloor    = 50
	minFailShare = 0.10
)

// mix counts what a run has asked and what was answered.
type mix struct {
	requests int
	failed   int
	counts   map[string]int
}

func newMix() *mix { return &mix{counts: make(map[string]int)} }

func (m *mix) mark(names ...string) {
	for _, n := range names {
		m.counts[n]++
	}
}

// markIf counts each name whose condition holds.
func (m *mix) markIf(marks map[string]bool) {
	for name, holds := range marks {
		if holds {
			m.counts[name]++
		}
	}
}

var digits = regexp.MustCompile(`\([0-9]+ vs`)

// answered counts the error of an answer, or of the message that cancels a
// watch.
func (m *mix) answered(a answer) {
	switch w, _ := a.resp.(*pb.WatchResponse); {
	case a.code != codes.OK:
		m.failed++
		m.mark("error/" + a.code.String() + ": " + digits.ReplaceAllString(a.text, "(N vs"))
	case w != nil && w.Canceled && w.CancelReason != "":
		m.failed++
		m.mark("error/watch: " + w.CancelReason)
	case w != nil && w.CompactRevision != 0:
		m.failed++
		m.mark("error/watch: compacted after it was created")
	}
}

func (m *mix) events(events []*mvccpb.Event) {
	for _, e := range events {
		m.mark("event/" + strings.ToLower(e.Type.String()))
		m.markIf(map[string]bool{
			"event/with prev_kv": e.PrevKv != nil,
			"event/with lease":   e.Kv.Lease != 0,
		})
	}
}

func (m *mix) fragments(w *watchStream) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fragments > 0 {
		m.mark("event/message in fragments")
	}
	w.fragments = 0
}

// floor is how often a mark must occur in a run of the given size.
func floor(mark string, requests int) int {
	full := fullFloor
	if f, ok := rare[mark]; ok {
		full = f
	}
	return max(1, full*requests/fullRun)
}

// problems lists every broken promise about the mix (I3).
func (m *mix) problems(requests int) []string {
	var out []string
	known := make(map[string]bool)
	for _, mark := range required {
		known[mark] = true
		if got, want := m.counts[mark], floor(mark, requests); got < want {
			out = append(out, fmt.Sprintf("%q occurred %d times, want %d or more", mark, got, want))
		}
	}
	for mark := range m.counts {
		if !known[mark] {
			out = append(out, fmt.Sprintf("%q is not in the list of marks: add it", mark))
		}
	}
	if share := float64(m.failed) / float64(max(1, m.requests)); share < minFailShare {
		out = append(out, fmt.Sprintf("%.1f %% of the requests failed, want %.0f %% or more", 100*share, 100*minFailShare))
	}
	slices.Sort(out)
	return out
}

// String prints the mix as a table.
func (m *mix) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d requests, %d failed (%.1f %%)\n", m.requests, m.failed, 100*float64(m.failed)/float64(max(1, m.requests)))
	names := make([]string, 0, len(m.counts))
	for n := range m.counts {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		fmt.Fprintf(&b, "%8d  %s\n", m.counts[n], n)
	}
	return b.String()
}
