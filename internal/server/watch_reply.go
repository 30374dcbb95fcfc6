package server

import (
	"github.com/quorate/quorate/internal/mvcc"
)

// watchReply is etcd's WatchResponse. Its events are encoded already, and shared with
// all other watchers that see them.
type watchReply struct {
	header    header
	id        int64
	created   bool
	canceled  bool
	compacted int64
	reason    string
	fragment  bool
	events    [][]byte
	eventSize int // of events with their tags and lengths
}

func (r *watchReply) size() int {
	return r.header.sizeField() + sizeVarint(uint64(r.id)) + sizeBool(r.created) + sizeBool(r.canceled) +
		sizeVarint(uint64(r.compacted)) + sizeBytes(len(r.reason)) + sizeBool(r.fragment) + r.eventSize
}

func (r *watchReply) encode(buf []byte) int {
	w := wireWriter{buf: buf, at: len(buf)}
	for i := len(r.events) - 1; i >= 0; i-- {
		end := w.at
		w.raw(r.events[i])
		w.message(11, end)
	}
	w.bool(7, r.fragment)
	w.bytes(6, []byte(r.reason))
	w.varint(5, uint64(r.compacted))
	w.bool(4, r.canceled)
	w.bool(3, r.created)
	w.varint(2, uint64(r.id))
	r.header.writeField(&w)
	return w.at
}

func (r *watchReply) add(event []byte) {
	r.events = append(r.events, event)
	r.eventSize += sizeMessage(len(event))
}

// encodeEvent is the wire form of etcd's mvccpb.Event; mvcc keeps it with the event.
func encodeEvent(e *mvcc.Event, prev bool) []byte {
	withPrev := prev && e.Prev != nil
	n := sizeVarint(eventType(e)) + sizeMessage(sizeKV(&e.KV))
	if withPrev {
		n += sizeMessage(sizeKV(e.Prev))
	}
	w := wireWriter{buf: make([]byte, n), at: n}
	if withPrev {
		end := w.at
		writeKV(&w, e.Prev)
		w.message(3, end)
	}
	end := w.at
	writeKV(&w, &e.KV)
	w.message(2, end)
	w.varint(1, eventType(e))
	return w.buf
}

// eventType is mvccpb's number: PUT is 0 and DELETE is 1.
func eventType(e *mvcc.Event) uint64 {
	if e.Delete {
		return 1
	}
	return 0
}

// sendBatch sends events in messages of about a request's size. A message ends between
// two revisions: a client that resumes after the last revision it saw must not have
// seen only a part of it. Parts of a revision go to clients that asked for fragments
// and put them together again; for the others a revision is one message, however large.
func (w *watchStream) sendBatch(each *watcher, batch *mvcc.WatchBatch) error {
	events := batch.Events
	if len(each.held) > 0 {
		events = append(each.held, events...)
		each.held = nil
	}
	if len(events) == 0 {
		return nil
	}
	if batch.Partial && !each.fragment {
		n := lastRevisionAt(events)
		each.held = append([]*mvcc.Event(nil), events[n:]...)
		events = events[:n]
	}
	limit := w.server.limits.messageBytesMax()
	m := w.newEvents(each)
	defer m.clear()
	for i, e := range events {
		data := e.Wire(each.prevKV, encodeEvent)
		if len(m.events) > 0 && m.size()+sizeMessage(len(data)) >= limit {
			sameRevision := e.KV.ModRevision == events[i-1].KV.ModRevision
			if !sameRevision || each.fragment {
				m.fragment = sameRevision
				m.header.revision = events[i-1].KV.ModRevision
				if err := w.send(m); err != nil {
					return err
				}
				m = w.newEvents(each)
			}
		}
		m.add(data)
	}
	if len(m.events) == 0 {
		return nil
	}
	each.quiet = false
	m.header.revision = events[len(events)-1].KV.ModRevision
	m.fragment = batch.Partial && each.fragment
	return w.send(m)
}

// newEvents returns the stream's one message for events. SendMsg encodes before it
// returns, so that the message can be used again.
func (w *watchStream) newEvents(each *watcher) *watchReply {
	w.events.clear()
	w.events = watchReply{header: w.header(0), id: each.id, events: w.events.events}
	return &w.events
}

// clear lets go of the events, but not of the room for them.
func (r *watchReply) clear() {
	clear(r.events)
	r.events, r.eventSize = r.events[:0], 0
}

// lastRevisionAt returns where the events of the last revision begin.
func lastRevisionAt(events []*mvcc.Event) int {
	n := len(events) - 1
	for n > 0 && events[n-1].KV.ModRevision == events[n].KV.ModRevision {
		n--
	}
	return n
}
