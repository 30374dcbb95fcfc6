package engine

import (
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// Options configures OpenPebble. Zero values mean the defaults named below.
type Options struct {
	// CacheBytes bounds the block cache (default 64 MiB). Together with the
	// memtables it is nearly all the memory that the engine takes: it does not
	// grow with the number of keys.
	CacheBytes int64
	// MemTableBytes is the size of one memtable (default 16 MiB). Up to
	// memTablesMax of them wait for their flush before commits stall.
	MemTableBytes int64
	// Compactions bounds concurrent compactions (default 1): the machine is shared
	// with consensus, whose latency matters more.
	Compactions int
	// Fatal is called when the engine cannot go on without risking a wrong answer
	// (E6), such as a failed write of its manifest. It must not return; the default
	// panics.
	Fatal func(error)
	// Log receives rare lines worth an operator's eye; nil drops them.
	Log func(line string)
}

const (
	cacheBytesDefault    = 64 << 20
	memTableBytesDefault = 16 << 20
	// memTablesMax bounds the memory of unflushed writes, and with it the part of
	// the log that a restart has to apply again.
	memTablesMax = 4
	// blockBytes is a compromise: a point read decodes one block, so small is
	// good; the index, which lives in the cache, grows as blocks shrink.
	blockBytes = 8 << 10
	// bloomBitsPerKey gives about one false positive in a hundred. Every put of a
	// new key asks for it first, and the filter answers without a block read.
	bloomBitsPerKey = 10
	// writeCategory labels our own files in Pebble's statistics.
	writeCategory = "quorate"
	// pebbleFormat is pinned: moving it is a decision, since an older build can
	// then no longer open the directory.
	pebbleFormat = pebble.FormatTableFormatV6
)

func (o Options) withDefaults() Options {
	if o.CacheBytes == 0 {
		o.CacheBytes = cacheBytesDefault
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = memTableBytesDefault
	}
	if o.Compactions == 0 {
		o.Compactions = 1
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) { panic(err) }
	}
	if o.Log == nil {
		o.Log = func(string) {}
	}
	return o
}

// pebbleOptions translates o; p receives the events.
func (o Options) pebbleOptions(p *Pebble) *pebble.Options {
	po := &pebble.Options{
		FS:                          p.fs,
		Lock:                        p.lock,
		CacheSize:                   o.CacheBytes,
		DisableWAL:                  true,
		FormatMajorVersion:          pebbleFormat,
		MemTableSize:                uint64(o.MemTableBytes),
		MemTableStopWritesThreshold: memTablesMax,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       24,
		LBaseMaxBytes:               64 << 20,
		MaxOpenFiles:                1000,
		Logger:                      pebbleLogger{o},
		EventListener:               p.listener(),
		CompactionConcurrencyRange:  func() (int, int) { return 1, o.Compactions },
	}
	for i := range po.Levels {
		po.Levels[i] = pebble.LevelOptions{
			BlockSize:    blockBytes,
			FilterPolicy: bloom.FilterPolicy(bloomBitsPerKey),
			FilterType:   pebble.TableFilter,
			// Values are small and mostly high-entropy, and CPU is what a put is
			// short of: etcd does not compress either.
			Compression: func() *sstable.CompressionProfile { return sstable.NoCompression },
		}
	}
	// An ingest as flushable waits in memory for its flush, and without a log it
	// would be lost in a crash after Ingest returned (E4).
	po.Experimental.DisableIngestAsFlushable = func() bool { return true }
	po.EnsureDefaults()
	return po
}

// pebbleLogger keeps Pebble's chatter out and its last words in.
type pebbleLogger struct{ opts Options }

func (l pebbleLogger) Infof(string, ...any) {}

func (l pebbleLogger) Errorf(format string, args ...any) { l.opts.Log(sprintf(format, args)) }

func (l pebbleLogger) Fatalf(format string, args ...any) {
	err := fatalError(sprintf(format, args))
	l.opts.Fatal(err)
	panic(err) // Pebble relies on Fatalf not returning
}
