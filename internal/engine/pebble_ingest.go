package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
)

const (
	// ingestDir holds tables under construction, inside the engine's directory so
	// that they can be linked. It is emptied at every start.
	ingestDir = "ingest"
	// ingestTableBytes is where a table ends and the next begins.
	ingestTableBytes = 32 << 20
)

// Ingest implements Engine. The stream is written into tables beside the
// database; one edit of the manifest then puts them in place of everything in the
// span. A crash before that edit leaves files that nothing refers to.
func (p *Pebble) Ingest(span Span, src Source) error {
	if p.closed.Load() {
		return ErrClosed
	}
	dir := p.fs.PathJoin(p.dir, ingestDir)
	if err := p.fs.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("engine: ingest: %w", err)
	}
	w := &tableWriter{engine: p, dir: dir, span: span, ingest: p.ingests.Add(1)}
	err := src(w.add)
	if err == nil {
		err = w.finish()
	}
	if err == nil {
		_, err = p.db.IngestAndExcise(context.Background(), w.paths, nil, nil,
			pebble.KeyRange{Start: span.Lo, End: span.Hi})
	}
	if err != nil {
		w.abort()
		return fmt.Errorf("engine: ingest: %w", err)
	}
	return nil
}

// removeLeftovers removes tables that a crash left unfinished.
func (p *Pebble) removeLeftovers() error {
	if err := p.fs.RemoveAll(p.fs.PathJoin(p.dir, ingestDir)); err != nil {
		return fmt.Errorf("engine: remove unfinished ingest: %w", err)
	}
	return nil
}

// tableWriter cuts a sorted stream into tables.
type tableWriter struct {
	engine *Pebble
	dir    string
	span   Span
	ingest int64 // number of this ingest since start
	paths  []string
	table  *sstable.Writer // nil between tables
	last   []byte
}

func (w *tableWriter) add(key, value []byte) error {
	if !w.span.Contains(key) || (w.last != nil && bytes.Compare(key, w.last) <= 0) {
		return ErrUnordered
	}
	w.last = append(w.last[:0], key...)
	if w.table == nil {
		if err := w.begin(); err != nil {
			return err
		}
	}
	if err := w.table.Set(key, value); err != nil {
		return err
	}
	if w.table.Raw().EstimatedSize() >= ingestTableBytes {
		return w.finish()
	}
	return nil
}

func (w *tableWriter) begin() error {
	path := w.engine.fs.PathJoin(w.dir, fmt.Sprintf("%d-%d.sst", w.ingest, len(w.paths)))
	f, err := w.engine.fs.Create(path, writeCategory)
	if err != nil {
		return err
	}
	w.paths = append(w.paths, path)
	opts := w.engine.writerOptions()
	w.table = sstable.NewWriter(objstorageprovider.NewFileWritable(f), opts)
	return nil
}

// finish completes the table under construction; the writer syncs it.
func (w *tableWriter) finish() error {
	if w.table == nil {
		return nil
	}
	t := w.table
	w.table = nil
	return t.Close()
}

// abort drops everything written; what cannot be removed now goes at next start.
func (w *tableWriter) abort() {
	err := w.finish()
	for _, path := range w.paths {
		err = errors.Join(err, w.engine.fs.Remove(path))
	}
	_ = err // leftovers are harmless
}

// writerOptions are those of the bottom level, where a snapshot belongs.
func (p *Pebble) writerOptions() sstable.WriterOptions {
	opts := Options{}.withDefaults().pebbleOptions(p)
	return opts.MakeWriterOptions(len(opts.Levels)-1, p.db.TableFormat())
}
