package env

import (
	"context"
	"io"
	"testing"
	"time"
)

// Goal: monotonic time never goes back (E2). Method: read it often.
func TestMonotonicNeverGoesBack(t *testing.T) {
	c := SystemClock()
	last := c.Monotonic()
	for range 10_000 {
		now := c.Monotonic()
		if now < last {
			t.Fatalf("monotonic went from %v to %v", last, now)
		}
		last = now
	}
	if c.Now().IsZero() {
		t.Fatal("wall clock is zero")
	}
}

// Goal: work shows in the processor time, which never goes back. Method: work.
func TestCPUGrows(t *testing.T) {
	c := SystemCPU()
	if c == nil {
		t.Skip("this system has no account of it")
	}
	last := c.Used()
	for c.Used() < last+time.Millisecond {
		if now := c.Used(); now < last {
			t.Fatalf("it went from %v to %v", last, now)
		}
	}
}

// Goal: seeds differ. Method: two equal 64-bit seeds have a chance of 2^-64.
func TestSeedsDiffer(t *testing.T) {
	if a, b := Seed(), Seed(); a == b {
		t.Fatalf("two seeds are both %d", a)
	}
}

// Goal: what is dialled arrives at the listener. Method: one byte over loopback.
func TestTCPCarriesBytes(t *testing.T) {
	n := TCP()
	l, err := n.Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	sent := make(chan error, 1)
	go func() {
		c, err := n.Dial(context.Background(), l.Addr().String())
		if err == nil {
			_, err = c.Write([]byte{42})
			c.Close()
		}
		sent <- err
	}()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := io.ReadAll(c)
	if err != nil || len(got) != 1 || got[0] != 42 {
		t.Fatalf("received %v, %v", got, err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}
