package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/version"
)

// probe is what the health endpoints ask: a keyspace of this node, on an ordinary port the
// default one.
type probe interface {
	// Status is local and cheap.
	Status() KeyspaceStatus
	// read reads nothing in particular, locally or after a linearizable barrier.
	read(ctx context.Context, linearizable bool) error
}

// endpoints serves /health, /livez, /readyz and /version as etcd does, byte by byte,
// and /metrics. Whatever else arrives goes to next.
type endpoints struct {
	probe   probe
	probeOf func(keyspace string) probe // of a bound connection
	timeout time.Duration               // for one check
	log     *slog.Logger
	metrics *metrics
	scrape  http.Handler
	next    http.Handler
	banner  string // the Server header
}

// check is one line of /livez and /readyz. A nil error is a pass.
type check struct {
	name string
	run  func(*endpoints, context.Context) error
}

var (
	errCorrupt = errors.New("alarm activated: CORRUPT")
	errLearner = errors.New("not supported for learner")
	errStarts  = errors.New("this member has not announced itself yet")
)

// The order of the lines is etcd's documented one; etcd itself prints them at random.
var (
	serializableRead = check{"serializable_read", (*endpoints).checkSerializable}
	livez            = []check{serializableRead}
	readyz           = []check{
		{"data_corruption", (*endpoints).checkCorruption},
		serializableRead,
		{"linearizable_read", (*endpoints).checkLinearizable},
		{"non_learner", (*endpoints).checkVoter},
	}
)

func (e *endpoints) checkSerializable(ctx context.Context) error { return e.read(ctx, false) }

// checkLinearizable fails until the member is announced, too: etcd serves nobody before.
func (e *endpoints) checkLinearizable(ctx context.Context) error {
	if e.probe.Status().Starting {
		return errStarts
	}
	return e.read(ctx, true)
}

func (e *endpoints) checkCorruption(context.Context) error {
	if e.probe.Status().Corrupt {
		return errCorrupt
	}
	return nil
}

func (e *endpoints) checkVoter(context.Context) error {
	if e.probe.Status().IsLearner {
		return errLearner
	}
	return nil
}

func (e *endpoints) read(ctx context.Context, linearizable bool) error {
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	return e.probe.read(ctx, linearizable)
}

// ServeHTTP implements http.Handler.
func (e *endpoints) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if bound := requestBoundTo(r); bound != nil {
		if bound.err != nil {
			http.Error(w, errorText(bound.err), http.StatusForbidden)
			return
		}
		ofKeyspace := *e
		ofKeyspace.probe = e.probeOf(bound.keyspace())
		e = &ofKeyspace
	}
	w.Header().Set("Server", e.banner)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	path := r.URL.Path
	switch {
	case path == "/health":
		e.serveHealth(w, r)
	case path == "/version":
		e.serveVersion(w, r)
	case path == "/metrics":
		e.scrape.ServeHTTP(w, r)
	case path == "/livez" || strings.HasPrefix(path, "/livez/"):
		e.serveChecks(w, r, "livez", livez)
	case path == "/readyz" || strings.HasPrefix(path, "/readyz/"):
		e.serveChecks(w, r, "readyz", readyz)
	case e.next != nil:
		e.next.ServeHTTP(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (e *endpoints) serveVersion(w http.ResponseWriter, r *http.Request) {
	if !allowGet(w, r) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	writeJSON(w, version.Versions{Server: EtcdVersion, Cluster: EtcdClusterVersion, Storage: EtcdClusterVersion})
}

// healthReply is the body of /health. Health is the *string* "true" or "false".
type healthReply struct {
	Health string `json:"health"`
	Reason string `json:"reason"`
}

func (e *endpoints) serveHealth(w http.ResponseWriter, r *http.Request) {
	if !allowGet(w, r) {
		return
	}
	query := r.URL.Query()
	reason := e.unhealthy(r.Context(), query.Get("serializable") == "true", query["exclude"])
	if reason == "" {
		e.metrics.healthOK.Inc()
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		writeJSON(w, healthReply{Health: "true"})
		return
	}
	e.metrics.healthFailed.Inc()
	e.log.Warn("serving /health false", "reason", reason)
	body, _ := json.Marshal(healthReply{Health: "false", Reason: reason})
	http.Error(w, string(body), http.StatusServiceUnavailable)
}

// unhealthy returns etcd's reason, or "" for a healthy node: alarms first, then the
// leader, then a read.
func (e *endpoints) unhealthy(ctx context.Context, serializable bool, exclude []string) string {
	status := e.probe.Status()
	if status.Corrupt && !slices.Contains(exclude, "CORRUPT") {
		return "ALARM CORRUPT"
	}
	if !serializable && status.Leader == 0 {
		return "RAFT NO LEADER"
	}
	if err := e.read(ctx, !serializable); err != nil {
		return "RANGE ERROR:" + errorText(err)
	}
	return ""
}

// serveChecks answers /livez or /readyz, with all checks but the excluded ones, or
// /readyz/<check>, with that one.
func (e *endpoints) serveChecks(w http.ResponseWriter, r *http.Request, kind string, checks []check) {
	query := r.URL.Query()
	exclude := query["exclude"]
	if name, one := strings.CutPrefix(r.URL.Path, "/"+kind+"/"); one {
		if checks = only(checks, name); checks == nil {
			http.NotFound(w, r)
			return
		}
		exclude = nil // etcd knows it on the root path alone
	}
	if !allowGet(w, r) {
		return
	}
	report, ok := e.runChecks(r.Context(), kind, checks, exclude)
	if !ok {
		e.log.Error("health check failed", "path", r.URL.Path, "reason", report)
		http.Error(w, report, http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if query.Has("verbose") {
		fmt.Fprint(w, report)
	}
	fmt.Fprint(w, "ok\n")
}

func (e *endpoints) runChecks(ctx context.Context, kind string, checks []check, exclude []string) (report string, ok bool) {
	var b strings.Builder
	ok = true
	for _, c := range checks {
		if slices.Contains(exclude, c.name) {
			continue
		}
		err := c.run(e, ctx)
		e.metrics.healthCheck(kind, c.name, err == nil)
		if err != nil {
			fmt.Fprintf(&b, "[-]%s failed: %s\n", c.name, errorText(err))
			ok = false
			continue
		}
		fmt.Fprintf(&b, "[+]%s ok\n", c.name)
	}
	return b.String(), ok
}

func only(checks []check, name string) []check {
	for i := range checks {
		if checks[i].name == name {
			return checks[i : i+1]
		}
	}
	return nil
}

func allowGet(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet {
		return true
	}
	w.Header().Set("Allow", http.MethodGet)
	http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
	return false
}

// writeJSON writes v without the line end that json.Encoder would add; etcd has none.
func writeJSON(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("marshal %T: %v", v, err)) // strings only: cannot fail
	}
	w.Write(body)
}
