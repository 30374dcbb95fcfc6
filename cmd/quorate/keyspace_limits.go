package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/api/quorate/v1"
)

// limitsJSON is a keyspace's limits as -o json shows them; those that there are.
type limitsJSON struct {
	Keys              int64 `json:"keys,omitempty"`
	Leases            int64 `json:"leases,omitempty"`
	Watchers          int64 `json:"watchers,omitempty"`
	RequestsPerSecond int64 `json:"requests_per_second,omitempty"`
	BytesPerSecond    int64 `json:"bytes_per_second,omitempty"`
}

// keyspaceLimit is one limit: its flag, its place, and what it is called.
type keyspaceLimit struct {
	flag, note, unit string
	in               func(*limitsJSON) *int64
}

var keyspaceLimits = []keyspaceLimit{
	{"quota-keys", "keys before more are rejected", "keys", func(l *limitsJSON) *int64 { return &l.Keys }},
	{"max-leases", "leases before more are rejected", "leases", func(l *limitsJSON) *int64 { return &l.Leases }},
	{"max-watchers", "watchers on each node", "watchers per node", func(l *limitsJSON) *int64 { return &l.Watchers }},
	{"max-requests-per-second", "calls per second that each node answers", "requests/s per node",
		func(l *limitsJSON) *int64 { return &l.RequestsPerSecond }},
	{"max-bytes-per-second", "bytes of requests per second that each node takes, 65536 or more", "bytes/s per node",
		func(l *limitsJSON) *int64 { return &l.BytesPerSecond }},
}

// limitFlags are the flags of all limits, in the order of keyspaceLimits.
type limitFlags []*flagValue

func addLimitFlags(cmd *cobra.Command) limitFlags {
	flags := make(limitFlags, len(keyspaceLimits))
	for i, l := range keyspaceLimits {
		flags[i] = addDevFlag(cmd.Flags(), &flagSpec{name: l.flag, kind: integer, note: l.note + "; -1 is no limit"})
	}
	return flags
}

// message is what the flags say; nil: nothing. A cluster takes 0 for "as it is", which nobody
// means who writes it.
func (f limitFlags) message() (*quoratev1.Limits, error) {
	var l limitsJSON
	for i, v := range f {
		n := number(v)
		if v.text != "" && n == 0 {
			return nil, usagef("--%s: use 1 or more, or -1 for no limit", keyspaceLimits[i].flag)
		}
		*keyspaceLimits[i].in(&l) = n
	}
	if l == (limitsJSON{}) {
		return nil, nil
	}
	return &quoratev1.Limits{
		Keys: l.Keys, Leases: l.Leases, Watchers: l.Watchers, RequestsPerSecond: l.RequestsPerSecond, BytesPerSecond: l.BytesPerSecond,
	}, nil
}

// limitsOf are a keyspace's limits; nil: there are none.
func limitsOf(k *quoratev1.Keyspace) *limitsJSON {
	m := k.GetLimits()
	l := limitsJSON{m.GetKeys(), m.GetLeases(), m.GetWatchers(), m.GetRequestsPerSecond(), m.GetBytesPerSecond()}
	if l == (limitsJSON{}) {
		return nil
	}
	return &l
}

// eachLimit calls do for each limit that there is.
func (l *limitsJSON) eachLimit(do func(limit *keyspaceLimit, n int64)) {
	for i := range keyspaceLimits {
		if l == nil {
			return
		}
		if n := *keyspaceLimits[i].in(l); n != 0 {
			do(&keyspaceLimits[i], n)
		}
	}
}

// limitsText is the quota and the limits in a line.
func limitsText(k *quoratev1.Keyspace) string {
	parts := []string{quotaText(k.GetQuotaBytes())}
	limitsOf(k).eachLimit(func(l *keyspaceLimit, n int64) { parts = append(parts, fmt.Sprintf("%d %s", n, l.unit)) })
	return strings.Join(parts, ", ")
}

// printLimits prints a line for each limit of a table.
func printLimits(w io.Writer, k *quoratev1.Keyspace) {
	limitsOf(k).eachLimit(func(l *keyspaceLimit, n int64) { fmt.Fprintf(w, "limit\t%d %s\n", n, l.unit) })
}
