package cluster

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// Goal: a port is one process's for as long as that lives, also while nobody listens on it
// (I2). Method: this test runs itself as a child that reserves a port and waits; the port
// must be refused here until the child is killed.
func TestPortIsReservedAcrossProcesses(t *testing.T) {
	if os.Getenv("E2E_HOLD_PORT") != "" {
		fmt.Printf("port %d\n", FreePort(t))
		select {}
	}
	child := exec.Command(os.Args[0], "-test.run=^TestPortIsReservedAcrossProcesses$")
	child.Env = append(os.Environ(), "E2E_HOLD_PORT=1")
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := StartProcess(child); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill() }()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var port int
	if _, err := fmt.Sscanf(line, "port %d", &port); err != nil {
		t.Fatalf("the child says %q: %v", line, err)
	}
	if err := reserve(port); !errors.Is(err, errPortTaken) {
		t.Errorf("port %d is reserved by another process and by this one: %v", port, err)
	}
	_ = child.Process.Kill()
	_ = child.Wait()
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := reserve(port)
		if err == nil {
			return
		}
		if !errors.Is(err, errPortTaken) || time.Now().After(deadline) {
			t.Fatalf("port %d of a process that is gone: %v", port, err)
		}
		time.Sleep(pollInterval)
	}
}

// Goal: a port is handed out once, and never one that somebody listens on.
func TestPortIsHandedOutOnce(t *testing.T) {
	port := FreePort(t)
	if err := reserve(port); !errors.Is(err, errPortTaken) {
		t.Errorf("port %d is handed out twice: %v", port, err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, text, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	busy, _ := strconv.Atoi(text)
	if err := reserve(busy); !errors.Is(err, errPortTaken) {
		t.Errorf("port %d is handed out although somebody listens on it: %v", busy, err)
	}
}
