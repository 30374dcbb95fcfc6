// Package report turns the samples of alternating turns into medians, spreads
// and ratios, and prints them as text, JSON or Markdown.
//
//   - R1 A figure is the median over turns; lo and hi are the extremes, never a
//     standard deviation: with five turns the extremes are all there is to know.
//   - R2 A ratio is taken within a turn, ours divided by the other's, and only
//     then the median is taken.
package report

import (
	"encoding/json"
	"io"
	"slices"
)

// Metric names one figure of a sample, its unit last.
type Metric string

// The metrics, in the order in which they are printed.
const (
	Throughput     Metric = "throughput_per_s"
	P50            Metric = "p50_us"
	P99            Metric = "p99_us"
	ServerCPU      Metric = "server_cpu_us_per_op"
	ClientCPU      Metric = "client_cpu_us_per_op"
	FirstAck       Metric = "first_ack_ms"
	Resident       Metric = "resident_mib"
	Anonymous      Metric = "anonymous_mib"
	IdleCPU        Metric = "idle_cpu_percent_of_core"
	ErrorsPerMille Metric = "errors_per_mille"
)

var metrics = []Metric{
	Throughput, P50, P99, ServerCPU, ClientCPU, FirstAck, Resident, Anonymous, IdleCPU, ErrorsPerMille,
}

// labels are the metrics' names in tables.
var labels = map[Metric]string{
	Throughput:     "per second",
	P50:            "p50 µs",
	P99:            "p99 µs",
	ServerCPU:      "server CPU µs/op",
	ClientCPU:      "client CPU µs/op",
	FirstAck:       "first ack ms",
	Resident:       "resident MiB",
	Anonymous:      "anonymous MiB",
	IdleCPU:        "idle CPU % of core",
	ErrorsPerMille: "errors ‰",
}

// Sample is what one turn of one system measured.
type Sample map[Metric]float64

// Report is a whole run.
type Report struct {
	Command  string   `json:"command"`
	Machine  string   `json:"machine"`
	Systems  []string `json:"systems"` // ours, the one we compare with, then others
	Rows     []*Row   `json:"rows"`
	Failures []string `json:"failures,omitempty"` // workloads without a row, and why
}

// Row is one workload at one number of clients.
type Row struct {
	Workload string                        `json:"workload"`
	Clients  int                           `json:"clients,omitempty"`
	Turns    int                           `json:"turns"`
	Figures  map[string]map[Metric]Summary `json:"figures"` // by system
	Ratio    map[Metric]Summary            `json:"ratio"`   // Systems[0] / Systems[1]
}

// Summary is the median of a metric over turns with its extremes (R1).
type Summary struct {
	Median float64 `json:"median"`
	Lo     float64 `json:"lo"`
	Hi     float64 `json:"hi"`
}

// NewRow summarizes samples[system][turn]. systems[0] is ours and systems[1]
// what it is compared with; a system without samples is left out.
func NewRow(workload string, clients int, systems []string, samples map[string][]Sample) *Row {
	row := &Row{Workload: workload, Clients: clients, Figures: map[string]map[Metric]Summary{}}
	for system, turns := range samples {
		row.Turns = max(row.Turns, len(turns))
		row.Figures[system] = map[Metric]Summary{}
		for _, metric := range metrics {
			if values := column(turns, metric); len(values) > 0 {
				row.Figures[system][metric] = summarize(values)
			}
		}
	}
	if len(systems) >= 2 {
		row.Ratio = ratios(samples[systems[0]], samples[systems[1]])
	}
	return row
}

// column lists a metric's values over turns, empty if it was not measured.
func column(turns []Sample, metric Metric) []float64 {
	var values []float64
	for _, sample := range turns {
		if value, ok := sample[metric]; ok {
			values = append(values, value)
		}
	}
	return values
}

// ratios divides turn by turn (R2); turns in which either is zero are left out.
func ratios(ours, others []Sample) map[Metric]Summary {
	summaries := map[Metric]Summary{}
	for _, metric := range metrics {
		var values []float64
		for turn := range min(len(ours), len(others)) {
			numerator, denominator := ours[turn][metric], others[turn][metric]
			if numerator != 0 && denominator != 0 {
				values = append(values, numerator/denominator)
			}
		}
		if len(values) > 0 {
			summaries[metric] = summarize(values)
		}
	}
	return summaries
}

func summarize(values []float64) Summary {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return Summary{Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Lo: sorted[0], Hi: sorted[n-1]}
}

// Formats lists what Write can print.
var Formats = []string{"text", "json", "markdown"}

// Write prints the report in one of Formats.
func (r *Report) Write(w io.Writer, format string) error {
	switch format {
	case "json":
		return r.writeJSON(w)
	case "markdown":
		return r.writeMarkdown(w)
	default:
		return r.writeText(w)
	}
}

func (r *Report) writeJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}
