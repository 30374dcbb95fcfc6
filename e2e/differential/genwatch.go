package differential

import (
	"bytes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Watch streams by number. Those that wait for the future keep to themselves,
// because a stream answers no progress request while one of its watches does.
const (
	plainStreams  = 3 // streams 0, 1, 2
	futureStream  = 3
	farStream     = 4
	watchesPerRow = 12 // watches of a stream before it is closed
)

func create(q *pb.WatchCreateRequest) *pb.WatchRequest {
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: q}}
}

func cancelWatch(id int64) *pb.WatchRequest {
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}}
}

func (g *generator) watchTurn() []step {
	n := g.rng.IntN(plainStreams)
	live := sortedKeys(g.model.stream(n).watches)
	if len(live) >= watchesPerRow {
		return []step{{kind: kindDrain}, {kind: kindCloseWatch, stream: n}}
	}
	if len(live) > 2 && g.chance(35) {
		return []step{watch(n, cancelWatch(live[g.rng.IntN(len(live))]))}
	}
	return []step{watch(n, create(g.watchRequest()))}
}

func (g *generator) watchRequest() *pb.WatchCreateRequest {
	q := &pb.WatchCreateRequest{
		PrevKv: g.chance(40), Fragment: g.chance(30), ProgressNotify: g.chance(30),
		StartRevision: g.revision([]string{"", "", "old", "old", "at compacted", "current"}[g.rng.IntN(6)]),
	}
	if g.chance(40) {
		q.Key = g.existing()
	} else if q.Key, q.RangeEnd = g.span(); g.chance(10) {
		q.Key = nil // the whole store if the end is "\0"
	}
	if len(q.RangeEnd) > 1 && bytes.Compare(q.Key, q.RangeEnd) >= 0 && g.chance(80) {
		q.Key, q.RangeEnd = []byte("k/"), []byte("k0")
	}
	if g.chance(25) {
		q.WatchId = int64(1 + g.rng.IntN(40))
	}
	if g.chance(25) {
		filters := []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT, pb.WatchCreateRequest_NODELETE, 7}
		q.Filters = filters[g.turn("filters", 3):]
		if g.chance(50) {
			q.Filters = q.Filters[:1]
		}
	}
	return q
}

func (g *generator) watchSpecial() []step {
	return watchCorners[g.turn("watch", len(watchCorners))](g, g.rng.IntN(plainStreams))
}

var watchCorners = []func(g *generator, stream int) []step{
	func(g *generator, n int) []step { // no key: the smallest key, and no end: only that
		return []step{watch(n, create(&pb.WatchCreateRequest{})), unary(methodPut, &pb.PutRequest{Key: []byte{0}, Value: g.value()})}
	},
	func(g *generator, n int) []step {
		return []step{watch(n, create(&pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte("a"), WatchId: 5}))}
	},
	func(g *generator, n int) []step {
		return []step{watch(n, create(&pb.WatchCreateRequest{Key: []byte("k/9"), RangeEnd: []byte("k/1"), PrevKv: true}))}
	},
	func(g *generator, n int) []step { // an end equal to the key is empty, too
		return []step{watch(n, create(&pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte("b")}))}
	},
	func(g *generator, n int) []step {
		return []step{watch(n, create(&pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte("a"), StartRevision: g.revision("negative")}))}
	},
	duplicateWatch, duplicateWatch,
	compactedWatch, compactedWatch,
	func(g *generator, n int) []step { return []step{watch(n, cancelWatch(int64(1000+g.rng.IntN(1000))))} },
	func(g *generator, n int) []step {
		q := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}
		return []step{watch(n, q)}
	},
	futureWatch, futureWatch,
	farWatch,
	func(g *generator, n int) []step {
		f := []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT, pb.WatchCreateRequest_NODELETE}
		return []step{watch(n, create(&pb.WatchCreateRequest{Key: []byte("k/"), RangeEnd: []byte("k0"), Filters: f, PrevKv: true}))}
	},
	func(g *generator, n int) []step {
		f := []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}
		return []step{watch(n, create(&pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, Filters: f, StartRevision: g.revision("old")}))}
	},
	func(g *generator, n int) []step {
		f := []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NODELETE}
		return []step{watch(n, create(&pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, Filters: f, PrevKv: true, StartRevision: g.revision("old")}))}
	},
	func(g *generator, n int) []step { // all history there is, and what a compaction has left of prev_kv
		return []step{
			watch(n, create(&pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, PrevKv: true, StartRevision: g.revision("at compacted")})),
			{kind: kindDrain},
		}
	},
	func(g *generator, n int) []step {
		return []step{watch(n, create(&pb.WatchCreateRequest{Key: []byte("k/2"), RangeEnd: []byte{0}, StartRevision: g.revision("current")}))}
	},
	func(g *generator, n int) []step { return []step{{kind: kindDrain}, {kind: kindCloseWatch, stream: n}} },
}

// duplicateWatch asks twice for one id.
func duplicateWatch(g *generator, n int) []step {
	q := &pb.WatchCreateRequest{Key: g.key(), WatchId: int64(50 + g.rng.IntN(50))}
	return []step{watch(n, create(q)), watch(n, create(q)), watch(n, cancelWatch(q.WatchId))}
}

// compactedWatch starts below the compacted revision: the watch is created,
// then canceled by the server, keeps its id, and is canceled by the client.
func compactedWatch(g *generator, n int) []step {
	q := &pb.WatchCreateRequest{Key: []byte("k/"), RangeEnd: []byte("k0"), WatchId: 45, StartRevision: g.revision("compacted"), PrevKv: g.chance(50)}
	if q.StartRevision >= g.model.compacted {
		return []step{unary(methodPut, g.putRequest())}
	}
	return []step{
		watch(n, create(q)), {kind: kindAwaitCompact, stream: n},
		watch(n, create(q)), watch(n, cancelWatch(45)),
	}
}

// futureWatch starts a few revisions ahead.
func futureWatch(g *generator, _ int) []step {
	var steps []step
	if len(g.model.stream(futureStream).watches) >= watchesPerRow {
		steps = append(steps, step{kind: kindDrain}, step{kind: kindCloseWatch, stream: futureStream})
	}
	q := g.watchRequest()
	q.StartRevision, q.WatchId = g.model.rev+1+g.rng.Int64N(20), 0
	return append(steps, watch(futureStream, create(q)))
}

// farWatch starts where nobody will get.
func farWatch(g *generator, _ int) []step {
	return []step{
		watch(farStream, create(&pb.WatchCreateRequest{Key: []byte("k/"), RangeEnd: []byte("k0"), StartRevision: g.model.rev + 1<<40})),
		watch(farStream, cancelWatch(0)),
		{kind: kindCloseWatch, stream: farStream},
	}
}

// bigWatchTurn makes history that does not fit into one message.
func (g *generator) bigWatchTurn() []step {
	start := g.model.rev + 1
	var steps []step
	for _, key := range []string{"big/1", "big/2", "big/3"} {
		steps = append(steps, unary(methodPut, &pb.PutRequest{Key: []byte(key), Value: bytes.Repeat([]byte{'x'}, 900_000)}))
	}
	return append(steps,
		watch(0, create(&pb.WatchCreateRequest{Key: []byte("big/"), RangeEnd: []byte("big0"), WatchId: 44, StartRevision: start, Fragment: true})),
		step{kind: kindDrain},
		watch(0, cancelWatch(44)),
		watch(0, create(&pb.WatchCreateRequest{Key: []byte("big/"), RangeEnd: []byte("big0"), WatchId: 44, StartRevision: start})),
		step{kind: kindDrain},
		watch(0, cancelWatch(44)),
		unary(methodDelete, &pb.DeleteRangeRequest{Key: []byte("big/"), RangeEnd: []byte("big0")}),
	)
}
