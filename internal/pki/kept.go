package pki

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"sync"

	"github.com/quorate/quorate/internal/env"
)

// fileBytesMax bounds a file: real ones have a few kilobytes, a bundle of all public
// authorities has a quarter of this, and a wrong path may name anything.
const fileBytesMax = 1 << 20

// kept is a value made of files. It may be used by any number of goroutines.
type kept[V any] struct {
	disk  env.FS
	log   *slog.Logger
	paths []string
	// parse's error names the file that is wrong.
	parse func(contents [][]byte) (V, error)

	mu struct {
		sync.Mutex
		value V
		seen  [sha256.Size]byte // of the contents that were looked at last
		// trouble is what the log has said of the files as they are; empty: nothing.
		trouble string
	}
}

// open makes the value for the first time.
func (k *kept[V]) open() error {
	contents, sum, err := k.read()
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.seen = sum
	k.mu.value, err = k.parse(contents)
	return err
}

// now is the value of the files as they are, or of the last ones that made one (K1, K2).
func (k *kept[V]) now() V {
	k.mu.Lock() // also while reading: what was read later must not be overtaken
	defer k.mu.Unlock()
	contents, sum, err := k.read()
	if err == nil && sum == k.mu.seen {
		return k.mu.value
	}
	var value V
	if err == nil {
		k.mu.seen, k.mu.trouble = sum, ""
		value, err = k.parse(contents)
	}
	switch {
	case err == nil:
		k.mu.value = value
		k.log.Info("changed files of TLS are used from now on", "files", k.paths)
	case err.Error() != k.mu.trouble:
		k.mu.trouble = err.Error()
		k.log.Error("files of TLS have changed and cannot be used; what was read before goes on being used", "reason", err.Error())
	}
	return k.mu.value
}

func (k *kept[V]) read() (contents [][]byte, sum [sha256.Size]byte, err error) {
	hash := sha256.New()
	for _, path := range k.paths {
		raw, err := readFile(k.disk, path)
		if err != nil {
			return nil, sum, err
		}
		contents = append(contents, raw)
		fmt.Fprintf(hash, "%d\n", len(raw))
		hash.Write(raw)
	}
	return contents, [sha256.Size]byte(hash.Sum(nil)), nil
}

func readFile(disk env.FS, path string) ([]byte, error) {
	file, err := disk.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, fileBytesMax+1))
	if err != nil {
		return nil, unreadable(path, err)
	}
	if len(raw) > fileBytesMax {
		return nil, fmt.Errorf("%s is larger than 1 MiB: name a file in PEM", path)
	}
	return raw, nil
}

func unreadable(path string, err error) error {
	var onPath *fs.PathError
	if errors.As(err, &onPath) {
		err = onPath.Err
	}
	return fmt.Errorf("%s cannot be read: %w", path, err)
}

// plain is an error of Go's TLS without its prefix.
func plain(err error) string {
	return strings.TrimPrefix(strings.TrimPrefix(err.Error(), "tls: "), "x509: ")
}
