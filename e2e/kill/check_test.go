package kill

import (
	"errors"
	"strings"
	"testing"
	"time"
)

var errNoAnswer = errors.New("no answer")

func write(client int, key, value string, call, ret int, rev int64) *operation {
	return &operation{client: client, kind: put, key: key, value: value, call: at(call), ret: at(ret), applied: true, header: rev}
}

func readOp(client int, key, value string, call, ret int, modRev, header int64) *operation {
	return &operation{client: client, kind: get, key: key, read: value, found: value != "", call: at(call), ret: at(ret), modRev: modRev, header: header}
}

func unanswered(client int, key, value string, call, ret int) *operation {
	return &operation{client: client, kind: put, key: key, value: value, call: at(call), ret: at(ret), err: errNoAnswer}
}

// ruleCases are histories as clients and watch saw them, and the complaint
// that they must lead to.
var ruleCases = []struct {
	name   string
	ops    []*operation
	events []event
	want   string
}{
	{
		name:   "a good history",
		ops:    []*operation{write(1, "a", "1", 0, 1, 2), write(2, "a", "2", 2, 3, 3), readOp(1, "a", "2", 4, 5, 3, 3)},
		events: []event{{key: "a", value: "1", revision: 2}, {key: "a", value: "2", revision: 3}},
	},
	{
		name:   "lost write",
		ops:    []*operation{write(1, "a", "1", 0, 1, 2)},
		events: []event{{key: "a", value: "x", revision: 2}},
		want:   "acknowledged write is lost",
	},
	{
		name:   "write nobody made",
		ops:    []*operation{write(1, "a", "1", 0, 1, 2)},
		events: []event{{key: "a", value: "1", revision: 2}, {key: "a", value: "9", revision: 3}},
		want:   "nobody wrote 9",
	},
	{
		name:   "write applied twice",
		ops:    []*operation{write(1, "a", "1", 0, 1, 2)},
		events: []event{{key: "a", value: "1", revision: 2}, {key: "a", value: "1", revision: 3}},
		want:   "written twice",
	},
	{
		name:   "other revision than acknowledged",
		ops:    []*operation{write(1, "a", "1", 0, 1, 3)},
		events: []event{{key: "b", value: "0", revision: 2}, {key: "a", value: "1", revision: 2}},
		want:   "but the watch says",
	},
	{
		name:   "write without answer that happened",
		ops:    []*operation{unanswered(1, "a", "1", 0, 1), readOp(2, "a", "1", 8, 9, 2, 2)},
		events: []event{{key: "a", value: "1", revision: 2, seen: 5e6}},
	},
	{
		name: "write without answer that did not happen",
		ops:  []*operation{unanswered(1, "a", "1", 0, 1), readOp(2, "a", "", 8, 9, 0, 1)},
	},
	{
		name:   "revision goes back in real time",
		ops:    []*operation{write(1, "a", "1", 0, 1, 3), write(2, "b", "2", 2, 3, 2)},
		events: []event{{key: "b", value: "2", revision: 2}, {key: "a", value: "1", revision: 3}},
		want:   "revision goes back",
	},
	{
		name:   "stale header of a read",
		ops:    []*operation{write(1, "a", "1", 0, 1, 2), readOp(2, "b", "", 2, 3, 0, 1)},
		events: []event{{key: "a", value: "1", revision: 2}},
		want:   "revision goes back",
	},
	{
		name:   "stale read",
		ops:    []*operation{write(1, "a", "1", 0, 1, 2), write(1, "a", "2", 2, 3, 3), readOp(2, "a", "1", 4, 5, 2, 3)},
		events: []event{{key: "a", value: "1", revision: 2}, {key: "a", value: "2", revision: 3}},
		want:   "not linearizable (revisions ignored: true)",
	},
	{
		name:   "gap in the watch",
		ops:    []*operation{write(1, "a", "1", 0, 1, 2), write(1, "a", "3", 2, 3, 4)},
		events: []event{{key: "a", value: "1", revision: 2}, {key: "a", value: "3", revision: 4}},
		want:   "shows revision 4 where 3 should be",
	},
}

// Goal: each rule finds the fault it is there for and accepts what is right.
// Method: hand-made histories; want names part of the complaint.
func TestRules(t *testing.T) {
	for _, c := range ruleCases {
		t.Run(c.name, func(t *testing.T) { expect(t, checkAll(c.ops, c.events), c.want) })
	}
}

// Goal: the two halves of a transaction cannot come apart unnoticed. Method:
// the same, for pairs.
func TestPairs(t *testing.T) {
	pair := func(revA, revB int64) []*operation {
		a, b := write(1, "a", "1", 0, 1, revA), write(1, "b", "2", 0, 1, revB)
		a.pair, b.pair = "b", "a"
		return []*operation{a, b}
	}
	events := func(revA, revB int64) []event {
		return []event{{key: "a", value: "1", revision: revA}, {key: "b", value: "2", revision: revB}}
	}
	expect(t, checkAll(pair(2, 2), events(2, 2)), "")
	expect(t, checkAll(pair(2, 3), events(2, 3)), "half a transaction")
	half := pair(2, 2)
	half[0].err, half[1].err = errNoAnswer, errNoAnswer
	expect(t, checkAll(half, []event{{key: "a", value: "1", revision: 2}}), "half a transaction")
}

// checkAll applies the rules as a round does, without members.
func checkAll(ops []*operation, events []event) error {
	last := int64(1)
	for _, e := range events {
		last = max(last, e.revision)
	}
	return errors.Join(checkContiguous(events, 2, last), resolve(ops, events), checkRealTime(ops),
		checkLinearizable(ops, false), checkLinearizable(ops, true))
}

func expect(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("complains about a good history: %v", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("got %v, want a complaint with %q", err, want)
	}
}

// at is a moment of a hand-made history.
func at(ms int) time.Duration { return time.Duration(ms) * time.Millisecond }
