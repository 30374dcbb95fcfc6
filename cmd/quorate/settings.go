package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// settings holds what the user asked for, before it means anything: the text of each
// flag that was set, and by what.
type settings struct {
	table flagTable
	set   map[string]setting
	// fromFile is true if a configuration file gave them.
	fromFile bool
	// doubts are warnings about values that are legal and probably not meant.
	doubts []string
}

type setting struct {
	text string
	// origin names where the text came from, for messages: "--name", "ETCD_NAME" or
	// "etcd.yml line 3".
	origin string
}

func newSettings(table flagTable) *settings {
	return &settings{table: table, set: make(map[string]setting)}
}

// put records a value that passes the flag's check.
func (s *settings) put(name, text, origin string) error {
	if err := s.table[name].check(text); err != nil {
		return fmt.Errorf("%s: %w", flagFrom(name, origin), err)
	}
	s.set[name] = setting{text: text, origin: origin}
	return nil
}

// given reports whether the user set the flag.
func (s *settings) given(name string) bool {
	_, ok := s.set[name]
	return ok
}

// doubt adds a warning about a flag.
func (s *settings) doubt(name, format string, args ...any) {
	s.doubts = append(s.doubts, s.where(name)+" "+fmt.Sprintf(format, args...))
}

// names lists the flags that were set, sorted.
func (s *settings) names() []string {
	names := make([]string, 0, len(s.set))
	for name := range s.set {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// where names a flag in a message.
func (s *settings) where(name string) string { return flagFrom(name, s.set[name].origin) }

// flagFrom names a flag, and its origin if that is not the flag itself.
func flagFrom(name, origin string) string {
	flag := "--" + name
	if origin == "" || origin == flag {
		return flag
	}
	return flag + " (from " + origin + ")"
}

func (s *settings) text(name string) string {
	if v, ok := s.set[name]; ok {
		return v.text
	}
	spec, ok := s.table[name]
	if !ok {
		panic("settings: no flag " + name)
	}
	return spec.preset
}

// The three below cannot fail: put has checked every text, and a test the presets.

func (s *settings) boolean(name string) bool {
	b, _ := strconv.ParseBool(s.text(name))
	return b
}

func (s *settings) integer(name string) int64 {
	n, _ := strconv.ParseInt(s.text(name), 0, 64)
	return n
}

func (s *settings) duration(name string) time.Duration {
	d, _ := time.ParseDuration(s.text(name))
	return d
}

// list splits a flag's text at its commas; empty elements do not count.
func (s *settings) list(name string) []string {
	var out []string
	for e := range strings.SplitSeq(s.text(name), ",") {
		if e = strings.TrimSpace(e); e != "" {
			out = append(out, e)
		}
	}
	return out
}

// refuse returns an error for the first flag that asks for what is not built (Q3). The
// value stays out of it: it may be a secret.
func (s *settings) refuse() error {
	for _, name := range s.names() {
		spec := s.table[name]
		if spec.status == refused && !spec.asksForDefault(s.set[name].text) {
			return fmt.Errorf("%s is refused because %s: leave it out if you can do without", s.where(name), spec.note)
		}
	}
	return nil
}

// warnings lists the doubts, and the flags that were set and have no effect.
func (s *settings) warnings() []string {
	out := slices.Clone(s.doubts)
	for _, name := range s.names() {
		spec := s.table[name]
		if spec.status != ignored {
			continue
		}
		warning := s.where(name) + " has no effect yet"
		if spec.note != "" {
			warning += ": " + spec.note
		}
		out = append(out, warning)
	}
	return out
}
