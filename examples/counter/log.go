package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"github.com/quorate/quorate/consensus"
)

// logFile is the durable log, and all of it in memory. The file is text, a record a line:
//
//	ab7096d2 {"Owner":"counter 1: replica 1 of [1 2 3], raft","Seq":0,"HardState":null,...
//	fbd917c3 {"Seq":1,"HardState":{"Epoch":1,"Vote":1},"Truncate":0,"Entries":null,...
//	c1a5741a {"Seq":2,"HardState":null,"Truncate":0,"Entries":[{"Index":1,"Epoch":1,...
//
// In front is the CRC-32 (IEEE) of what follows the blank. A line is begun only when the one
// before is durable, so a crash tears the last line and no other. Damage further up hits what
// was durable once: to cut there would break promises, so it is an error. (Damage in the last
// line looks like a torn end; it takes another format to tell them apart.)
type logFile struct {
	file    *os.File
	hard    consensus.HardState
	entries []consensus.Entry // place k holds index k+1; a hole, where Paxos has one, is zero
	decided consensus.Index
}

// record is a line: whose log it is in the first, an append in all others.
type record struct {
	Owner string `json:",omitempty"`
	consensus.Append
}

// openLog reads a log back, or begins one.
func openLog(path, owner string) (*logFile, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	l, good := &logFile{file: file}, 0
	for line := range bytes.Lines(text) {
		var r record
		payload := bytes.TrimSuffix(line[min(9, len(line)):], []byte("\n"))
		whole, last := bytes.Equal(line, seal(payload)), good+len(line) == len(text)
		if !whole && last {
			break // torn
		}
		if !whole || json.Unmarshal(payload, &r) != nil || good == 0 && r.Owner != owner {
			return nil, fmt.Errorf("%s: byte %d: the line is damaged, or the log is not of %q", path, good, owner)
		}
		l.keep(&r.Append)
		good += len(line)
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	// The file is synced even if nothing is cut: the process before this one may have died
	// before its last sync, and the machine takes all that is read for durable.
	err = errors.Join(file.Truncate(int64(good)), file.Sync(), folder.Sync())
	if err == nil && good == 0 {
		err = l.write(record{Owner: owner})
	}
	return l, err
}

// keep does an append in memory: hard state, truncation, entries, decided.
func (l *logFile) keep(a *consensus.Append) {
	if a.HardState != nil {
		l.hard = *a.HardState
	}
	if a.Truncate != 0 {
		l.entries = l.entries[:a.Truncate-1]
	}
	for _, e := range a.Entries {
		for consensus.Index(len(l.entries)) < e.Index { // further than by one: Paxos leaves holes
			l.entries = append(l.entries, consensus.Entry{})
		}
		l.entries[e.Index-1] = e
	}
	l.decided = max(l.decided, a.Decided)
}

// write returns when a record is durable. After an error nobody knows what is: the process
// must end.
func (l *logFile) write(r record) error {
	payload, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if _, err := l.file.Write(seal(payload)); err != nil {
		return err
	}
	return l.file.Sync()
}

func seal(payload []byte) []byte {
	return fmt.Appendf(nil, "%08x %s\n", crc32.ChecksumIEEE(payload), payload)
}

// entry reports what the log has at an index, and whether it has something.
func (l *logFile) entry(i consensus.Index) (consensus.Entry, bool) {
	if i == 0 || i > consensus.Index(len(l.entries)) || l.entries[i-1].Epoch == 0 {
		return consensus.Entry{}, false
	}
	return l.entries[i-1], true
}
