package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// fleet keeps a set of child processes running. One goroutine, the caller of run, owns
// all its state; what waits for a child or a delay only sends events to it.
type fleet struct {
	fleetConfig
	children []*child // one per node, in the same order
	events   chan fleetEvent
	// ended is closed when nobody reads events any more.
	ended   chan struct{}
	spawner *spawner
}

type fleetConfig struct {
	Nodes []*devNode
	// Command returns the command that runs a node, supervised; the fleet adds its streams.
	Command func(*devNode) *exec.Cmd
	// RestartDelay is the time between a death and the next start; it doubles with each
	// death before the node served, up to restartDoublingsMax times.
	RestartDelay time.Duration
	// StartTimeout bounds the time until all nodes serve, StopTimeout the time that they
	// have to stop in order before they are killed.
	StartTimeout, StopTimeout time.Duration
	// Report tells the user what happened.
	Report func(format string, args ...any)
}

const restartDoublingsMax = 4

// child is one node's process, or the wait for the next one.
type child struct {
	node    *devNode
	process *childProcess // nil while it is dead
	// served is true once this process was ready.
	served bool
	// failures counts deaths since the node last served.
	failures int
}

type eventKind uint8

const (
	eventExited eventKind = iota // the process is gone
	eventServes                  // it said that it is ready
	eventDue                     // time to start it again
)

type fleetEvent struct {
	kind    eventKind
	child   *child
	process *childProcess // the process that it is about
}

func newFleet(c fleetConfig) *fleet {
	f := &fleet{
		fleetConfig: c,
		events:      make(chan fleetEvent),
		ended:       make(chan struct{}),
		spawner:     newSpawner(),
	}
	for _, n := range c.Nodes {
		f.children = append(f.children, &child{node: n})
	}
	return f
}

// run starts all nodes, calls ready once they all serve, and keeps them running until
// stop ends. It returns when no child is left.
func (f *fleet) run(stop context.Context, ready func()) error {
	defer f.spawner.close()
	defer close(f.ended)
	defer f.stopAll()
	for _, c := range f.children {
		if err := f.launch(c); err != nil {
			return err
		}
	}
	late := time.NewTimer(f.StartTimeout)
	defer late.Stop()
	starting := true
	for {
		select {
		case <-stop.Done():
			f.Report("stopping all nodes")
			return nil
		case <-late.C:
			if starting {
				return f.lateError()
			}
		case e := <-f.events:
			if starting && e.kind == eventExited {
				e.child.process = nil
				return fmt.Errorf("%s ended before it was ready, %s (its log is %s)", e.child.node.Name, e.process.epitaph(), e.child.node.Log)
			}
			f.handle(e)
			if starting && f.allServe() {
				starting = false
				ready()
			}
		}
	}
}

func (f *fleet) allServe() bool {
	for _, c := range f.children {
		if !c.served {
			return false
		}
	}
	return true
}

func (f *fleet) lateError() error {
	var missing []string
	for _, c := range f.children {
		if !c.served {
			missing = append(missing, c.node.Name+" ("+c.node.Log+")")
		}
	}
	return fmt.Errorf("after %v these nodes are not ready, see their logs: %s", f.StartTimeout, strings.Join(missing, ", "))
}

// handle applies one event. Events about a process that is not the current one are late
// and do not count.
func (f *fleet) handle(e fleetEvent) {
	c := e.child
	switch {
	case e.kind == eventDue && c.process == nil:
		if err := f.launch(c); err != nil {
			f.Report("%v; next attempt in %v", err, f.restartLater(c))
		}
	case e.process != c.process || c.process == nil:
	case e.kind == eventServes:
		if c.failures > 0 {
			f.Report("%s is back, pid %d", c.node.Name, c.node.PID)
		}
		c.served, c.failures = true, 0
	case e.kind == eventExited:
		c.process, c.served = nil, false
		f.Report("%s (pid %d) died, %s; it starts again in %v", c.node.Name, c.node.PID, e.process.epitaph(), f.restartLater(c))
	}
}

// restartLater has a dead node started again after the delay that it returns.
func (f *fleet) restartLater(c *child) time.Duration {
	delay := f.RestartDelay << min(c.failures, restartDoublingsMax)
	c.failures++
	time.AfterFunc(delay, func() { f.send(fleetEvent{kind: eventDue, child: c}) })
	return delay
}

// launch starts a node's process, and what waits for it.
func (f *fleet) launch(c *child) error {
	p, err := f.spawner.start(f.Command(c.node), c.node.Log)
	if err != nil {
		return fmt.Errorf("%s cannot be started: %w", c.node.Name, err)
	}
	c.process, c.node.PID = p, p.pid()
	go func() {
		if p.awaitReady() {
			f.send(fleetEvent{kind: eventServes, child: c, process: p})
		}
		p.wait()
		f.send(fleetEvent{kind: eventExited, child: c, process: p})
	}()
	return nil
}

func (f *fleet) send(e fleetEvent) {
	select {
	case f.events <- e:
	case <-f.ended:
	}
}

// stopAll ends every child: in order if it can, by force if it takes too long.
func (f *fleet) stopAll() {
	alive := 0
	for _, c := range f.children {
		if c.process != nil {
			c.process.stop()
			alive++
		}
	}
	late := time.NewTimer(f.StopTimeout)
	defer late.Stop()
	for alive > 0 {
		select {
		case e := <-f.events:
			if e.kind == eventExited && e.process == e.child.process {
				e.child.process = nil
				alive--
			}
		case <-late.C:
			for _, c := range f.children {
				if c.process != nil {
					f.Report("%s does not stop and is killed", c.node.Name)
					c.process.kill()
				}
			}
		}
	}
}
