package client_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// endpoints are those of a cluster of three nodes for all tests and examples that leave it as
// it is.
var endpoints []string

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run builds the program and starts the cluster of the tests around them.
func run(m *testing.M) int {
	os.Setenv("ETCD_CLIENT_DEBUG", "fatal") // etcd's client would log the failures that the tests make
	dir, err := os.MkdirTemp("", "quorate-client-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "quorate")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", program, "../cmd/quorate").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the program: %v\n%s", err, out)
		return 1
	}
	c, err := startCluster()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer c.stop()
	endpoints = c.Endpoints
	return m.Run()
}

// program is the path of the program under test.
var program string

const (
	startTimeout = time.Minute
	// startTries is how often other ports are tried.
	startTries = 5
)

// cluster is a running `quorate dev` with three nodes. The nodes end with it, and it ends
// with its input's other end, which is ours.
type cluster struct {
	Endpoints []string
	Nodes     []struct {
		PID       int
		ClientURL string `json:"client_url"`
	}
	cmd *exec.Cmd
}

// startCluster returns when all nodes are ready.
func startCluster() (*cluster, error) {
	var err error
	for range startTries {
		var c *cluster
		// Below the ports that the kernel gives to connections.
		if c, err = startClusterAt(12000 + rand.IntN(20000)); err == nil {
			return c, nil
		}
	}
	return nil, err
}

func startClusterAt(port int) (*cluster, error) {
	var said strings.Builder
	c := &cluster{cmd: exec.Command(program, "dev", "-o", "json", "--port", strconv.Itoa(port))}
	c.cmd.Stderr = &said
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	late := time.AfterFunc(startTimeout, func() { c.cmd.Process.Kill() })
	defer late.Stop()
	if err := json.NewDecoder(out).Decode(c); err != nil {
		c.stop()
		return nil, fmt.Errorf("start a cluster: %w: %s", err, said.String())
	}
	return c, nil
}

func (c *cluster) stop() {
	_ = c.cmd.Process.Signal(os.Interrupt)
	_ = c.cmd.Wait()
}

// kill ends a node as a crash does; after five seconds the cluster starts it again.
func (c *cluster) kill(t *testing.T, endpoint string) {
	t.Helper()
	for _, n := range c.Nodes {
		if strings.HasSuffix(n.ClientURL, "//"+endpoint) {
			p, err := os.FindProcess(n.PID)
			if err == nil {
				err = p.Kill()
			}
			if err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("no node has the endpoint %s", endpoint)
}
