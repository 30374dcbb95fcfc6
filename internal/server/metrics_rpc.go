package server

import (
	"sort"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// rpcMetrics counts calls under the names that go-grpc-prometheus made common and that
// etcd's dashboards read. Each method has one record that is found once per call by
// its name; nothing on the path of a call builds or hashes labels (I9).
type rpcMetrics struct {
	methods map[string]*methodMetrics // by "/service/method"; not written after start
	unknown *methodMetrics            // methods that are not registered

	started, handled, seconds *prometheus.Desc
}

// codeCount is the number of gRPC status codes.
const codeCount = int(codes.Unauthenticated) + 1

type methodMetrics struct {
	labels  [3]string // grpc_type, grpc_service, grpc_method
	started atomic.Uint64
	handled [codeCount]atomic.Uint64
	seconds histogram
}

func newRPCMetrics() *rpcMetrics {
	labels := []string{"grpc_type", "grpc_service", "grpc_method"}
	return &rpcMetrics{
		methods: make(map[string]*methodMetrics),
		unknown: &methodMetrics{labels: [3]string{"unknown", "unknown", "unknown"}},
		started: prometheus.NewDesc("grpc_server_started_total",
			"Total number of RPCs started on the server.", labels, nil),
		handled: prometheus.NewDesc("grpc_server_handled_total",
			"Total number of RPCs completed on the server, regardless of success or failure.",
			append(labels[:3:3], "grpc_code"), nil),
		seconds: prometheus.NewDesc("grpc_server_handling_seconds",
			"Histogram of response latency (seconds) of gRPC that had been application-level handled by the server.",
			labels, nil),
	}
}

// register makes a record for every method of g. It is called once, before serving.
func (r *rpcMetrics) register(g *grpc.Server) {
	for service, info := range g.GetServiceInfo() {
		for _, m := range info.Methods {
			kind := "unary"
			switch {
			case m.IsClientStream && m.IsServerStream:
				kind = "bidi_stream"
			case m.IsClientStream:
				kind = "client_stream"
			case m.IsServerStream:
				kind = "server_stream"
			}
			r.methods["/"+service+"/"+m.Name] = &methodMetrics{labels: [3]string{kind, service, m.Name}}
		}
	}
}

func (r *rpcMetrics) method(fullName string) *methodMetrics {
	if m := r.methods[fullName]; m != nil {
		return m
	}
	return r.unknown
}

func (m *methodMetrics) finish(code codes.Code, took time.Duration) {
	if int(code) >= codeCount {
		code = codes.Unknown
	}
	m.handled[code].Add(1)
	m.seconds.observe(took)
}

// Describe implements prometheus.Collector.
func (r *rpcMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- r.started
	ch <- r.handled
	ch <- r.seconds
}

// Collect implements prometheus.Collector.
func (r *rpcMetrics) Collect(ch chan<- prometheus.Metric) {
	for _, m := range r.methods {
		r.collect(m, ch)
	}
	if r.unknown.started.Load() > 0 {
		r.collect(r.unknown, ch)
	}
}

func (r *rpcMetrics) collect(m *methodMetrics, ch chan<- prometheus.Metric) {
	l := m.labels
	ch <- prometheus.MustNewConstMetric(r.started, prometheus.CounterValue, float64(m.started.Load()), l[0], l[1], l[2])
	for code := range m.handled {
		n := m.handled[code].Load()
		if n == 0 && code != int(codes.OK) {
			continue
		}
		ch <- prometheus.MustNewConstMetric(r.handled, prometheus.CounterValue, float64(n),
			l[0], l[1], l[2], codes.Code(code).String())
	}
	ch <- m.seconds.metric(r.seconds, l[0], l[1], l[2])
}

// bucketBounds are the upper bounds of the latency buckets. The ones from 5 ms up are
// Prometheus' default, the ones below show what a fast disk does.
var bucketBounds = [...]time.Duration{
	50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	1 * time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond,
	25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
	500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// histogram counts durations without locks and without allocating.
type histogram struct {
	buckets  [len(bucketBounds) + 1]atomic.Uint64 // the last one is above all bounds
	sumNanos atomic.Int64
}

func (h *histogram) observe(d time.Duration) {
	i := 0
	for i < len(bucketBounds) && d > bucketBounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sumNanos.Add(int64(d))
}

// metric reads the buckets one by one: a scrape that races with observe may be short by
// the observations of that moment, which the next scrape shows.
func (h *histogram) metric(desc *prometheus.Desc, labels ...string) prometheus.Metric {
	cumulative := make(map[float64]uint64, len(bucketBounds))
	var count uint64
	for i := range h.buckets {
		count += h.buckets[i].Load()
		if i < len(bucketBounds) {
			cumulative[bucketBounds[i].Seconds()] = count
		}
	}
	sum := time.Duration(h.sumNanos.Load()).Seconds()
	return prometheus.MustNewConstHistogram(desc, count, sum, cumulative, labels...)
}

// counterSet is a set of counters by one label value, bounded so that a client which
// makes values up cannot grow memory: values past the limit share the last counter.
type counterSet struct {
	limit  int
	values atomic.Pointer[map[string]*atomic.Uint64] // replaced, never written
}

// otherValue collects what came after the limit.
const otherValue = "other"

func (c *counterSet) inc(value string) {
	for {
		old := c.values.Load()
		if old != nil {
			if n := (*old)[value]; n != nil {
				n.Add(1)
				return
			}
			if len(*old) >= c.limit && value != otherValue {
				value = otherValue
				continue
			}
		}
		next := make(map[string]*atomic.Uint64, c.limit)
		if old != nil {
			for k, v := range *old {
				next[k] = v
			}
		}
		next[value] = new(atomic.Uint64)
		c.values.CompareAndSwap(old, &next) // whoever won, look again
	}
}

func (c *counterSet) each(f func(value string, n uint64)) {
	m := c.values.Load()
	if m == nil {
		return
	}
	keys := make([]string, 0, len(*m))
	for k := range *m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		f(k, (*m)[k].Load())
	}
}
