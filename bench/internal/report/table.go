package report

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// writeText prints one line per workload, clients and metric.
func (r *Report) writeText(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "%s\n%s\nmedian [lowest – highest turn]; ratio = %s\n\n",
		r.Command, r.Machine, r.ratioName()); err != nil {
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "workload\tclients\tmetric\t%s\tratio\n", strings.Join(r.Systems, "\t"))
	for _, row := range r.Rows {
		for _, metric := range metrics {
			if !row.measured(metric) {
				continue
			}
			cells := []string{row.Workload, row.clients(), labels[metric]}
			for _, system := range r.Systems {
				cells = append(cells, cell(row.Figures[system], metric, formatFigure))
			}
			cells = append(cells, cell(row.Ratio, metric, formatRatio))
			fmt.Fprintln(table, strings.Join(cells, "\t"))
		}
	}
	for _, failure := range r.Failures {
		fmt.Fprintf(table, "\nFAILED %s\n", failure)
	}
	return table.Flush()
}

// markdownMetrics are the columns of the short table, at most one of each group
// in a row.
var markdownMetrics = [][]Metric{
	{Throughput, FirstAck, Resident},
	{P50},
	{P99},
	{ServerCPU, IdleCPU},
}

// writeMarkdown prints the table for README: one line per workload and number
// of clients; a cell holds ours, the other's and the ratio.
func (r *Report) writeMarkdown(w io.Writer) error {
	var out strings.Builder
	fmt.Fprintf(&out, "`%s`, %s. Each cell: %s, **ratio** (lowest–highest); medians of alternating turns.\n\n",
		r.Command, r.Machine, strings.Join(r.Systems, " / "))
	out.WriteString("| Workload | Clients | Per second, or what is named | p50 | p99 | Server CPU |\n|---|---|---|---|---|---|\n")
	for _, row := range r.Rows {
		fmt.Fprintf(&out, "| %s | %s |", row.Workload, row.clients())
		for _, group := range markdownMetrics {
			fmt.Fprintf(&out, " %s |", r.markdownCell(row, group))
		}
		out.WriteString("\n")
	}
	for _, failure := range r.Failures {
		fmt.Fprintf(&out, "\nFailed: %s\n", strings.ReplaceAll(failure, "\n", " "))
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// markdownCell shows the first metric of the group that the row has.
func (r *Report) markdownCell(row *Row, group []Metric) string {
	for _, metric := range group {
		if !row.measured(metric) {
			continue
		}
		var values []string
		for _, system := range r.Systems {
			if summary, ok := row.Figures[system][metric]; ok {
				values = append(values, markdownFigure(metric, summary))
			}
		}
		text := strings.Join(values, " / ") + markdownUnit(metric)
		if ratio, ok := row.Ratio[metric]; ok {
			text += fmt.Sprintf(", **%.2f×** (%.2f–%.2f)", ratio.Median, ratio.Lo, ratio.Hi)
		}
		return text
	}
	return "–"
}

// markdownFigure is the median; of failovers the slowest matters too.
func markdownFigure(metric Metric, summary Summary) string {
	text := humanNumber(summary.Median)
	if metric == FirstAck {
		text += " (max " + humanNumber(summary.Hi) + ")"
	}
	return text
}

// markdownUnit follows the numbers; a throughput's unit is in the heading.
func markdownUnit(metric Metric) string {
	switch metric {
	case P50, P99, ServerCPU:
		return " µs"
	case Throughput:
		return ""
	default:
		return " " + labels[metric]
	}
}

func (r *Report) ratioName() string {
	if len(r.Systems) < 2 {
		return "none"
	}
	return r.Systems[0] + " / " + r.Systems[1]
}

// measured says whether there is something to print. Errors are something only
// if there were any.
func (row *Row) measured(metric Metric) bool {
	for _, figures := range row.Figures {
		if summary, ok := figures[metric]; ok && (metric != ErrorsPerMille || summary.Hi > 0) {
			return true
		}
	}
	return false
}

func (row *Row) clients() string {
	if row.Clients == 0 {
		return "–"
	}
	return fmt.Sprint(row.Clients)
}

func cell(figures map[Metric]Summary, metric Metric, format func(Summary) string) string {
	summary, ok := figures[metric]
	if !ok {
		return "–"
	}
	return format(summary)
}

func formatFigure(s Summary) string {
	return fmt.Sprintf("%s [%s – %s]", humanNumber(s.Median), humanNumber(s.Lo), humanNumber(s.Hi))
}

func formatRatio(s Summary) string {
	return fmt.Sprintf("%.2f× [%.2f – %.2f]", s.Median, s.Lo, s.Hi)
}

// humanNumber prints three digits or, from 1000 on, all before the point in
// groups of three.
func humanNumber(value float64) string {
	switch {
	case value == 0:
		return "0"
	case value < 10:
		return fmt.Sprintf("%.2f", value)
	case value < 100:
		return fmt.Sprintf("%.1f", value)
	}
	digits := fmt.Sprintf("%.0f", value)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + " " + digits[i:]
	}
	return digits
}
