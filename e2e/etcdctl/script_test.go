package etcdctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/e2e/cluster"
)

// commandTimeout bounds one etcdctl command.
const commandTimeout = 30 * time.Second

// ctl runs etcdctl against some endpoints.
type ctl struct {
	t         *testing.T
	path      string
	endpoints string
}

func newCtl(t *testing.T, members ...*cluster.Member) *ctl {
	t.Helper()
	var endpoints []string
	for _, m := range members {
		endpoints = append(endpoints, m.ClientURL())
	}
	return &ctl{t: t, path: cluster.Etcdctl(t), endpoints: strings.Join(endpoints, ",")}
}

// command prepares etcdctl with a clean environment.
func (c *ctl) command(ctx context.Context, args ...string) *exec.Cmd {
	args = append([]string{"--endpoints=" + c.endpoints, "--command-timeout=20s", "--dial-timeout=5s"}, args...)
	cmd := exec.CommandContext(ctx, c.path, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.t.TempDir()}
	return cmd
}

// run returns what etcdctl printed on stdout and stderr and its exit code.
func (c *ctl) run(stdin string, args ...string) (stdout, stderr string, code int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), commandTimeout)
	defer cancel()
	cmd := c.command(ctx, args...)
	var out, err strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &err
	if e := cmd.Run(); e != nil {
		var exit *exec.ExitError
		if !errors.As(e, &exit) {
			c.t.Fatalf("etcdctl %v: %v", args, e)
		}
		code = exit.ExitCode()
	}
	return out.String(), err.String(), code
}

// ok runs a command that must succeed and returns its stdout.
func (c *ctl) ok(args ...string) string {
	c.t.Helper()
	out, errText, code := c.run("", args...)
	if code != 0 {
		c.t.Fatalf("etcdctl %s: exit %d\n%s%s", strings.Join(args, " "), code, out, errText)
	}
	return out
}

// line is one line of a script: a command and what it must print.
type line struct {
	args  string // split at spaces
	stdin string
	want  string // regular expression for the whole of stdout
	fails string // regular expression for stderr; the command must fail
}

// script runs lines in order. "%" in a line stands for the prefix, so that
// every phase has keys of its own.
func (c *ctl) script(prefix string, lines []line) {
	c.t.Helper()
	for _, l := range lines {
		fill := func(s string) string { return strings.ReplaceAll(s, "%", prefix) }
		out, errText, code := c.run(fill(l.stdin), strings.Fields(fill(l.args))...)
		if (code != 0) != (l.fails != "") {
			c.t.Errorf("etcdctl %s: exit %d\n%s%s", fill(l.args), code, out, errText)
			continue
		}
		if want := fill(l.want); !matches(want, out) {
			c.t.Errorf("etcdctl %s printed\n%s\nwant\n%s", fill(l.args), out, want)
		}
		if l.fails != "" && !matches(fill(l.fails), errText) {
			c.t.Errorf("etcdctl %s complained\n%s\nwant\n%s", fill(l.args), errText, fill(l.fails))
		}
	}
}

func matches(pattern, s string) bool {
	return regexp.MustCompile(`(?s)\A` + pattern + `\z`).MatchString(s)
}

// phase is the state of the cluster while a script runs.
type phase struct {
	name    string
	running []*cluster.Member
}

// phases runs f with all members up, with each member in turn killed, and
// after its restart.
func phases(t *testing.T, f func(t *testing.T, c *cluster.Cluster, p phase)) {
	c := cluster.Start(t, cluster.Options{Binary: cluster.ServerUnderTest(t), Members: 3})
	run := func(name string, running []*cluster.Member) {
		t.Run(name, func(t *testing.T) { f(t, c, phase{name: name, running: running}) })
	}
	run("all", c.Members)
	for i, m := range c.Members {
		m.Kill()
		others := append(append([]*cluster.Member{}, c.Members[:i]...), c.Members[i+1:]...)
		if _, err := c.WaitLeader(t.Context()); err != nil {
			t.Fatal(err)
		}
		run(fmt.Sprintf("killed%d", i+1), others)
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	run("again", c.Members)
}
