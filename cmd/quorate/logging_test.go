package main

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// Goal: our lines have etcd's shape. Method: a pattern with etcd's keys in etcd's order.
func TestJSONLog(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(newLogHandler(&out, slog.LevelInfo, false))
	log.Debug("hidden")
	log.With("shard", 7).WithGroup("raft").Warn(`say "what"`, "took", 1500*time.Millisecond, "level", "x")
	want := regexp.MustCompile(`^\{"level":"warn","ts":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z","caller":"quorate/logging_test.go:\d+",` +
		`"msg":"say \\"what\\"","shard":7,"raft":\{"took":"1.5s","level":"x"\}\}\n$`)
	if !want.Match(out.Bytes()) {
		t.Errorf("%s", out.Bytes())
	}
	if !json.Valid(out.Bytes()) {
		t.Error("not JSON")
	}
	out.Reset()
	log.Info("bare")
	if !json.Valid(out.Bytes()) || !strings.HasSuffix(out.String(), `"msg":"bare"}`+"\n") {
		t.Errorf("%s", out.Bytes())
	}
}

func TestConsoleLog(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(newLogHandler(&out, slog.LevelDebug, true))
	log.Error("lost", "shard", 7)
	want := regexp.MustCompile(`^\S+Z\terror\tquorate/logging_test.go:\d+\tlost\t\{"shard":7\}\n$`)
	if !want.Match(out.Bytes()) {
		t.Errorf("%q", out.Bytes())
	}
	out.Reset()
	log.Debug("bare")
	if !strings.HasSuffix(out.String(), "\tbare\n") {
		t.Errorf("%q", out.Bytes())
	}
}

// Goal: lines of many goroutines do not mix. Method: the race detector, and JSON.
func TestLogFromManyGoroutines(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(newLogHandler(&out, slog.LevelInfo, false))
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			mine := log.With("writer", i)
			for range 50 {
				mine.Info("line", "text", strings.Repeat("x", 100))
			}
		})
	}
	all.Wait()
	for line := range strings.Lines(out.String()) {
		if !json.Valid([]byte(line)) {
			t.Fatalf("%q", line)
		}
	}
}

// Goal: after a rename and reopen new lines go to a new file.
func TestSinkReopens(t *testing.T) {
	dir := t.TempDir()
	path, old := filepath.Join(dir, "log"), filepath.Join(dir, "log.1")
	var stderr bytes.Buffer
	s, err := openSink([]string{"stderr", path}, io.Discard, &stderr)
	if err != nil || !s.onStderr {
		t.Fatal(err)
	}
	defer s.close()
	io.WriteString(s, "one\n")
	if err := os.Rename(path, old); err != nil {
		t.Fatal(err)
	}
	if err := s.reopen(); err != nil {
		t.Fatal(err)
	}
	io.WriteString(s, "two\n")
	first, _ := os.ReadFile(old)
	second, _ := os.ReadFile(path)
	if string(first) != "one\n" || string(second) != "two\n" || stderr.String() != "one\ntwo\n" {
		t.Errorf("%q %q %q", first, second, stderr.String())
	}
	if _, err := openSink([]string{filepath.Join(dir, "no", "log")}, nil, nil); err == nil ||
		!strings.HasSuffix(err.Error(), "cannot be written: no such file or directory") {
		t.Error(err)
	}
}
