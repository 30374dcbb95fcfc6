package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/quorate/quorate/internal/env"
	"github.com/quorate/quorate/internal/pki/pkitest"
)

// fakeMain is the real program around a node that does nothing.
func fakeMain() {
	p := newProcess()
	p.node = fakeDriver()
	os.Exit(p.run(context.Background()))
}

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"quorate": fakeMain, "etcd": fakeMain, "real": main})
}

// Goal: what users see of the command line. Method: scripts with a fake node.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			base := freePorts(t)
			for i := range portsPerScript {
				e.Setenv(fmt.Sprintf("P%d", i), strconv.Itoa(base+i))
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"waitfor":  waitFor,
			"envsubst": envSubst,
			"catalog":  catalog,
			"certify":  certify,
		},
	})
}

// certify NAME [URI...] writes NAME.crt and NAME.key, and ca.crt of their authority.
func certify(ts *testscript.TestScript, _ bool, args []string) {
	t := failing{ts: ts}
	authority := pkitest.NewAuthority(t)
	authority.Sign(t, func(c *x509.Certificate) {
		switch args[0] {
		case "expired":
			c.NotAfter = c.NotBefore.Add(time.Hour)
		case "servers":
			c.ExtKeyUsage = c.ExtKeyUsage[:1]
		}
	}, args[1:]...).Write(t, ts.MkAbs("."), args[0])
	pkitest.Write(t, ts.MkAbs("."), "ca.crt", authority.PEM)
}

// failing is a script as a test, as far as it may fail.
type failing struct {
	testing.TB
	ts *testscript.TestScript
}

func (f failing) Helper()           {}
func (f failing) Fatal(args ...any) { f.ts.Fatalf("%s", fmt.Sprint(args...)) }

// envSubst FILE... replaces $NAME in files.
func envSubst(ts *testscript.TestScript, _ bool, args []string) {
	for _, path := range args {
		text := os.Expand(ts.ReadFile(path), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(path), []byte(text), 0o600))
	}
}

// portsPerScript is how many neighbouring ports a script gets, as $P0, $P1, ...
const portsPerScript = 30

// freePorts returns the first of that many ports that were free a moment ago, below those
// that the kernel hands out itself.
func freePorts(t *testing.T) int {
	for range 100 {
		base := 10_000 + rand.IntN(20_000)
		free := true
		for i := 0; i < portsPerScript && free; i++ {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", base+i))
			if free = err == nil; free {
				l.Close()
			}
		}
		if free {
			return base
		}
	}
	t.Fatal("no free ports")
	return 0
}

// waitFor FILE PATTERN waits until the file matches.
func waitFor(ts *testscript.TestScript, _ bool, args []string) {
	pattern := regexp.MustCompile("(?s)" + args[1])
	for range 1000 {
		if raw, err := os.ReadFile(ts.MkAbs(args[0])); err == nil && pattern.Match(raw) {
			return
		}
		time.Sleep(10 * time.Millisecond) // another process writes it
	}
	ts.Fatalf("%s does not match %s", args[0], args[1])
}

// fakeDriver makes nodes that write their Config to $FAKE_CONFIG, or to a file of their name in
// $FAKE_CONFIG_DIR. $FAKE_STATE says that
// the data directory has state, $FAKE_FAILURE is why the node ends by itself, and
// $FAKE_NEVER_READY keeps it from being ready.
func fakeDriver() nodeDriver {
	return nodeDriver{
		initialized: func(env.FS, *Config) (bool, error) { return os.Getenv("FAKE_STATE") != "", nil },
		start: func(ctx context.Context, c *Config, l *listeners, _ *slog.Logger) (runningNode, error) {
			path := os.Getenv("FAKE_CONFIG")
			if dir := os.Getenv("FAKE_CONFIG_DIR"); dir != "" {
				path = filepath.Join(dir, c.Name)
			}
			if path != "" {
				raw, err := json.MarshalIndent(c, "", "  ")
				if err != nil {
					return nil, err
				}
				if err := os.WriteFile(path, raw, 0o600); err != nil {
					return nil, err
				}
			}
			for _, u := range c.ListenPeerURLs {
				peer, err := env.TCP().Listen(ctx, address(u))
				if err != nil {
					return nil, err
				}
				l.client = append(l.client, peer)
			}
			n := newFakeNode()
			n.listeners = l
			if why := os.Getenv("FAKE_FAILURE"); why != "" {
				n.failed <- errors.New(why)
				return n, nil
			}
			if os.Getenv("FAKE_NEVER_READY") == "" {
				close(n.ready)
			}
			return n, nil
		},
	}
}

// fakeNode records what is asked of it, in order.
type fakeNode struct {
	listeners *listeners
	ready     chan struct{}
	failed    chan error
	// handover, if set, is what Handover does.
	handover func(context.Context) error
	// closing, if set, is what Close does first.
	closing func()

	mu    sync.Mutex
	calls []string
}

func newFakeNode() *fakeNode {
	return &fakeNode{ready: make(chan struct{}), failed: make(chan error, 1)}
}

func (n *fakeNode) note(call string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls = append(n.calls, call)
}

func (n *fakeNode) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.calls, " ")
}

func (n *fakeNode) Ready() <-chan struct{} { return n.ready }
func (n *fakeNode) Failed() <-chan error   { return n.failed }

func (n *fakeNode) Handover(ctx context.Context) error {
	n.note("handover")
	if n.handover != nil {
		return n.handover(ctx)
	}
	return nil
}

func (n *fakeNode) Drain(context.Context) error { n.note("drain"); return nil }

func (n *fakeNode) Close(context.Context) error {
	n.note("close")
	if n.closing != nil {
		n.closing()
	}
	if n.listeners != nil {
		n.listeners.close()
	}
	return nil
}

// newTestProcess is a process without an operating system around it.
func newTestProcess(args ...string) (p *process, stdout, stderr *bytes.Buffer) {
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	return &process{
		name:    "quorate",
		args:    args,
		stdin:   strings.NewReader(""),
		stdout:  stdout,
		stderr:  stderr,
		signals: make(chan os.Signal),
		exit:    func(int) { panic("exit") },
		node:    fakeDriver(),
	}, stdout, stderr
}
