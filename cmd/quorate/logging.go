package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
)

const (
	formatJSON    = "json"
	formatConsole = "console"
)

// logLevelNames are etcd's. We write nothing above error, so panic and fatal silence all.
var logLevelNames = []string{"debug", "info", "warn", "error", "panic", "fatal"}

var logLevels = map[string]slog.Level{
	"debug": slog.LevelDebug,
	"info":  slog.LevelInfo,
	"warn":  slog.LevelWarn,
	"error": slog.LevelError,
	"panic": slog.LevelError + 4,
	"fatal": slog.LevelError + 8,
}

// Words of --log-outputs that are not file names.
const (
	outputDefault = "default"
	outputStderr  = "stderr"
	outputStdout  = "stdout"
	outputJournal = "systemd/journal"
)

func resolveLog(s *settings) (logConfig, error) {
	c := logConfig{
		Level:   logLevels[s.text("log-level")],
		Console: s.text("log-format") == formatConsole,
	}
	for _, o := range s.list("log-outputs") {
		switch o {
		case outputDefault:
			o = outputStderr
		case outputJournal:
			o = outputStderr // the service manager carries it to the journal
		}
		if !slices.Contains(c.Outputs, o) {
			c.Outputs = append(c.Outputs, o)
		}
	}
	if len(c.Outputs) == 0 {
		return c, fmt.Errorf("%s is empty: write stderr, stdout or a file", s.where("log-outputs"))
	}
	return c, nil
}

// logSink is where log lines go. Safe for use by many goroutines.
type logSink struct {
	mu struct {
		sync.Mutex
		out   []io.Writer
		files []*os.File
	}
	paths []string
	// onStderr reports whether the user sees the log on standard error.
	onStderr bool
}

func openSink(outputs []string, stdout, stderr io.Writer) (*logSink, error) {
	s := &logSink{}
	for _, o := range outputs {
		switch o {
		case outputStderr:
			s.mu.out = append(s.mu.out, stderr)
			s.onStderr = true
		case outputStdout:
			s.mu.out = append(s.mu.out, stdout)
		default:
			s.paths = append(s.paths, o)
		}
	}
	return s, s.reopen()
}

// reopen opens the log files anew, after something has renamed them. On an error the old
// ones stay.
func (s *logSink) reopen() error {
	var files []*os.File
	for _, path := range s.paths {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			closeAll(files)
			return fmt.Errorf("--log-outputs %s cannot be written: %w", path, reason(err))
		}
		files = append(files, f)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	closeAll(s.mu.files)
	s.mu.files = files
	return nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// Write sends one line to every output. A full log disk must not stop the node, so an
// output that fails does not keep the line from the others, and nobody is told: the
// log is where we would tell.
func (s *logSink) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.mu.out {
		_, _ = w.Write(line)
	}
	for _, f := range s.mu.files {
		_, _ = f.Write(line)
	}
	return len(line), nil
}

func (s *logSink) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	closeAll(s.mu.files)
	s.mu.files = nil
}
