package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"path"
	"runtime"
	"strconv"
	"sync"
	"time"
)

// logTime is etcd's form of a time stamp, in UTC with microseconds.
const logTime = "2006-01-02T15:04:05.000000Z"

// logHandler writes slog records as etcd's lines, so that what reads etcd's log reads
// ours: {"level":"info","ts":"…","caller":"quorate/serve.go:10","msg":"…",…} or, as text,
// the same parts separated by tabs.
//
// The standard JSON handler has other keys in another order and cannot drop its own, so
// it only renders the attributes here; the four leading parts are written by hand.
type logHandler struct {
	level   slog.Level
	console bool
	// attrs renders a record's attributes into the shared buffer, as one JSON object.
	attrs  slog.Handler
	shared *logBuffer
}

// logBuffer is shared by a handler and all that were derived from it.
type logBuffer struct {
	sync.Mutex
	out   io.Writer
	attrs bytes.Buffer
	line  []byte
}

func newLogHandler(out io.Writer, level slog.Level, console bool) *logHandler {
	shared := &logBuffer{out: out}
	return &logHandler{
		level:   level,
		console: console,
		attrs: slog.NewJSONHandler(&shared.attrs, &slog.HandlerOptions{
			Level: slog.LevelDebug,
			ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
				if len(groups) == 0 && (a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
					return slog.Attr{} // written by hand
				}
				if d, ok := a.Value.Any().(time.Duration); ok && a.Value.Kind() == slog.KindDuration {
					a.Value = slog.StringValue(d.String()) // as etcd: "100ms", not nanoseconds
				}
				return a
			},
		}),
		shared: shared,
	}
}

func (h *logHandler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	derived := *h
	derived.attrs = h.attrs.WithAttrs(attrs)
	return &derived
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	derived := *h
	derived.attrs = h.attrs.WithGroup(name)
	return &derived
}

// Handle writes one line with one Write.
func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	h.shared.Lock()
	defer h.shared.Unlock()
	h.shared.attrs.Reset()
	bare := slog.NewRecord(time.Time{}, r.Level, "", 0) // no time: the handler skips it
	r.Attrs(func(a slog.Attr) bool { bare.AddAttrs(a); return true })
	if err := h.attrs.Handle(ctx, bare); err != nil {
		return err
	}
	attrs := bytes.TrimRight(h.shared.attrs.Bytes(), "\n")
	if h.console {
		h.shared.line = appendConsole(h.shared.line[:0], &r, attrs)
	} else {
		h.shared.line = appendJSON(h.shared.line[:0], &r, attrs)
	}
	_, err := h.shared.out.Write(h.shared.line)
	return err
}

func appendJSON(line []byte, r *slog.Record, attrs []byte) []byte {
	line = append(line, `{"level":"`...)
	line = append(line, levelName(r.Level)...)
	line = append(line, `","ts":"`...)
	line = r.Time.UTC().AppendFormat(line, logTime)
	line = append(line, `","caller":`...)
	line = appendQuoted(line, caller(r.PC))
	line = append(line, `,"msg":`...)
	line = appendQuoted(line, r.Message)
	if len(attrs) > len("{}") {
		line = append(line, ',')
		return append(append(line, attrs[1:]...), '\n')
	}
	return append(line, "}\n"...)
}

func appendConsole(line []byte, r *slog.Record, attrs []byte) []byte {
	line = r.Time.UTC().AppendFormat(line, logTime)
	line = append(line, '\t')
	line = append(line, levelName(r.Level)...)
	line = append(line, '\t')
	line = append(line, caller(r.PC)...)
	line = append(line, '\t')
	line = append(line, r.Message...)
	if len(attrs) > len("{}") {
		line = append(append(line, '\t'), attrs...)
	}
	return append(line, '\n')
}

func appendQuoted(line []byte, s string) []byte {
	quoted, err := json.Marshal(s)
	if err != nil {
		panic("json of a string: " + err.Error()) // cannot happen: every string has one
	}
	return append(line, quoted...)
}

// levelName is the lower-case name that etcd's lines carry.
func levelName(l slog.Level) string {
	switch {
	case l < slog.LevelInfo:
		return "debug"
	case l < slog.LevelWarn:
		return "info"
	case l < slog.LevelError:
		return "warn"
	}
	return "error"
}

// caller is folder/file:line of the statement that logged.
func caller(pc uintptr) string {
	if pc == 0 {
		return "undefined"
	}
	frame, _ := runtime.CallersFrames([]uintptr{pc}).Next()
	dir, file := path.Split(frame.File)
	return path.Join(path.Base(dir), file) + ":" + strconv.Itoa(frame.Line)
}
