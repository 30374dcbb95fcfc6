package engine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/cockroachdb/pebble/v2"

	"github.com/quorate/quorate/internal/env"
)

const (
	// formatFile says that the directory was completely made, and in which format.
	// It is the last file written at creation.
	formatFile = "FORMAT"
	// formatText is its content; the number rises when a build can no longer read
	// what an older one wrote, or the other way round.
	formatText = "quorate engine 1\n"
)

// checkFormat refuses directories of other formats and reports whether the
// directory was ever completed.
func (p *Pebble) checkFormat() (complete bool, err error) {
	desc, err := pebble.Peek(p.dir, p.fs)
	if err != nil {
		return false, fmt.Errorf("engine: look into %s: %w", p.dir, err)
	}
	if desc.Exists && desc.FormatMajorVersion > pebbleFormat {
		return false, fmt.Errorf("%w: %s has Pebble format %d, this build knows up to %d",
			ErrVersion, p.dir, desc.FormatMajorVersion, pebbleFormat)
	}
	text, err := readFile(p.fs, p.fs.PathJoin(p.dir, formatFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("engine: %w", err)
	case string(text) != formatText:
		return false, fmt.Errorf("%w: %s says %q, this build knows %q", ErrVersion, p.dir, text, formatText)
	}
	return true, nil
}

func readFile(disk env.FS, path string) ([]byte, error) {
	f, err := disk.Open(path)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(f)
	return text, errors.Join(err, f.Close())
}

// writeFormat makes the directory complete.
func (p *Pebble) writeFormat() error {
	if err := p.db.Flush(); err != nil {
		return err
	}
	path := p.fs.PathJoin(p.dir, formatFile)
	f, err := p.fs.Create(path+".tmp", writeCategory)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(formatText))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := p.fs.Rename(path+".tmp", path); err != nil {
		return err
	}
	return syncDir(p.fs, p.dir)
}

// lockFile is Pebble's name for the file that OpenPebble holds locked.
const lockFile = "LOCK"

// clear empties the directory.
func (p *Pebble) clear() error {
	names, err := p.fs.List(p.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == lockFile {
			continue
		}
		if err := p.fs.RemoveAll(p.fs.PathJoin(p.dir, name)); err != nil {
			return err
		}
	}
	return syncDir(p.fs, p.dir)
}
