package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate/internal/env"
)

func discardLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Goal: SIGTERM hands over, drains and stops, in this order, and that is a success.
func TestStopInOrder(t *testing.T) {
	p, _, _ := newTestProcess()
	signals := make(chan os.Signal, 1)
	p.signals = signals
	node := newFakeNode()
	close(node.ready)
	signals <- syscall.SIGTERM
	var log bytes.Buffer
	stop, release := p.untilStopped(t.Context(), nil)
	defer release()
	err := p.supervise(stop, node, &serveConfig{ShutdownTimeout: time.Second}, slog.New(newLogHandler(&log, slog.LevelInfo, false)))
	if err != nil || node.String() != "handover drain close" {
		t.Errorf("%v, %s", err, node)
	}
	if !strings.Contains(log.String(), `"reason":"received signal terminated"`) {
		t.Error(log.String())
	}
}

// Goal: a handover that nobody takes ends after its share of the time, and the stop goes
// on. Method: virtual time.
func TestHandoverIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := newFakeNode()
		node.handover = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		began := time.Now()
		if err := shutdown(t.Context(), node, 9*time.Second, discardLog()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 3*time.Second || node.String() != "handover drain close" {
			t.Errorf("after %v: %s", took, node)
		}
	})
}

// Goal: a disk that does not answer does not keep the process. Method: virtual time.
func TestCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, answer := newFakeNode(), make(chan struct{})
		node.closing = func() { <-answer }
		began := time.Now()
		err := shutdown(t.Context(), node, 9*time.Second, discardLog())
		if took := time.Since(began); err == nil || !strings.Contains(err.Error(), "look at its disk") || took != 18*time.Second {
			t.Errorf("after %v: %v", took, err)
		}
		close(answer)
	})
}

// Goal: a second signal ends the process at once, with the code of that signal.
func TestSecondSignalIsNow(t *testing.T) {
	p, _, _ := newTestProcess()
	signals, code := make(chan os.Signal), make(chan int)
	p.signals = signals
	p.exit = func(c int) { code <- c }
	stop, release := p.untilStopped(t.Context(), nil)
	defer release()
	signals <- syscall.SIGTERM
	<-stop.Done()
	signals <- os.Interrupt
	if got := <-code; got != 130 {
		t.Errorf("exit code %d", got)
	}
}

// Goal: a node that ends by itself is closed, and its reason is ours.
func TestNodeFails(t *testing.T) {
	p, _, _ := newTestProcess()
	node := newFakeNode()
	broken := errors.New("disk broken")
	node.failed <- broken
	err := p.supervise(t.Context(), node, &serveConfig{ShutdownTimeout: time.Second}, discardLog())
	if !errors.Is(err, broken) || node.String() != "close" {
		t.Errorf("%v, %s", err, node)
	}
}

// Goal: a service manager hears that we are ready. Method: a socket in its place.
func TestServiceManagerIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if err := (serviceManager{socket: path}).notify("READY=1"); err != nil {
		t.Fatal(err)
	}
	var b [32]byte
	if n, err := socket.Read(b[:]); err != nil || string(b[:n]) != "READY=1" {
		t.Errorf("%q, %v", b[:n], err)
	}
	if err := (serviceManager{}).notify("READY=1"); err != nil {
		t.Error(err)
	}
}

// Goal: a port in use is one sentence, and what was opened before is closed again.
func TestPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c := &Config{ListenClientURLs: []string{"http://" + freeAddress(t)}, ListenHTTPURLs: []string{"http://" + taken.Addr().String()}}
	_, err = listen(t.Context(), env.TCP(), c, nil)
	if err == nil {
		t.Fatal("two listeners on one port")
	}
	checkSentence(t, "port", err.Error(), "the port is in use: stop the other process or choose another port")
	c.ListenHTTPURLs = nil
	l, err := listen(t.Context(), env.TCP(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	l.close()
}

// freeAddress is a loopback address that was free a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Goal: a folder that can only be a mistake is refused.
func TestDataDirMistakes(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "e", "member", "snap"), 0o700); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		file:                     "is not a folder",
		filepath.Join(dir, "e"):  "holds the data of an etcd",
		dir:                      "",
		filepath.Join(dir, "no"): "",
	} {
		err := checkDataDir(env.OSFS(), &Config{DataDir: path})
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", path, err)
		case want != "" && err == nil:
			t.Errorf("%s is accepted", path)
		case want != "":
			checkSentence(t, path, err.Error(), want)
		}
	}
}
