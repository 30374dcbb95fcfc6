package report

import (
	"strings"
	"testing"
)

// TestRatioIsTakenWithinTurns has a machine that becomes four times slower in
// the second turn: the ratio must not notice (R2).
func TestRatioIsTakenWithinTurns(t *testing.T) {
	row := NewRow("put", 8, []string{"quorate", "etcd"}, map[string][]Sample{
		"quorate": {{Throughput: 400}, {Throughput: 100}, {Throughput: 420}},
		"etcd":    {{Throughput: 200}, {Throughput: 50}, {Throughput: 200}},
	})
	if got, want := row.Ratio[Throughput], (Summary{Median: 2, Lo: 2, Hi: 2.1}); got != want {
		t.Errorf("ratio %v, want %v", got, want)
	}
	if got, want := row.Figures["quorate"][Throughput], (Summary{Median: 400, Lo: 100, Hi: 420}); got != want {
		t.Errorf("figures %v, want %v", got, want)
	}
}

func TestMedianOfEvenTurns(t *testing.T) {
	if got, want := summarize([]float64{4, 1, 3, 2}), (Summary{Median: 2.5, Lo: 1, Hi: 4}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestTables(t *testing.T) {
	r := &Report{
		Command: "bench", Machine: "2 cores", Systems: []string{"quorate", "etcd"},
		Failures: []string{"watch: not there yet"},
		Rows: []*Row{NewRow("leader-kill", 0, []string{"quorate", "etcd"}, map[string][]Sample{
			"quorate": {{FirstAck: 600, ErrorsPerMille: 0}, {FirstAck: 800, ErrorsPerMille: 0}},
			"etcd":    {{FirstAck: 1200, ErrorsPerMille: 0}, {FirstAck: 1600, ErrorsPerMille: 0}},
		})},
	}
	for format, want := range map[string]string{
		"text":     "700 [600 – 800]  1 400 [1 200 – 1 600]  0.50× [0.50 – 0.50]",
		"markdown": "| leader-kill | – | 700 (max 800) / 1 400 (max 1 600) first ack ms, **0.50×** (0.50–0.50) | – |",
		"json":     `"median": 1400,`,
	} {
		var out strings.Builder
		if err := r.Write(&out, format); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s lacks %q:\n%s", format, want, out.String())
		}
		if !strings.Contains(out.String(), "not there yet") {
			t.Errorf("%s hides the failure:\n%s", format, out.String())
		}
		if strings.Contains(out.String(), labels[ErrorsPerMille]) {
			t.Errorf("%s shows errors that did not happen:\n%s", format, out.String())
		}
	}
}

func TestHumanNumber(t *testing.T) {
	for value, want := range map[float64]string{0: "0", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 1234567: "1 234 567"} {
		if got := humanNumber(value); got != want {
			t.Errorf("%v: got %q, want %q", value, got, want)
		}
	}
}
