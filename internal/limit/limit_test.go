package limit

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quorate/quorate/internal/placement"
)

func sized(n int) func() int { return func() int { return n } }

// Goal: B3, and that a rate is reached: at random times a request passes if, and only if, the
// seconds before had room. Method: the same requests on an exact model with tokens.
func TestRateIsKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.SampledFrom([]int64{1, 2, 10, 1000}).Draw(t, "rate") // divide a second
		var l Limiter
		l.Set(placement.Limits{RequestsPerSecond: rate})
		price := int64(time.Second) / rate
		now, tokens := time.Duration(rapid.Int64Range(0, 1<<40).Draw(t, "start")), int64(time.Second)
		first, passed := now, int64(0)
		for range rapid.IntRange(1, 200).Draw(t, "requests") {
			step := rapid.Int64Range(0, 2*price).Draw(t, "pause")
			now += time.Duration(step)
			tokens = min(int64(time.Second), tokens+step)
			want := tokens >= price
			if want {
				tokens -= price
			}
			if l.Admit(now, nil) != want {
				t.Fatalf("at %v with %d ns left: %v", now, tokens, !want)
			} else if want {
				passed++
			}
		}
		if most := (int64(now-first) + int64(time.Second)) / price; passed > most {
			t.Fatalf("%d passed in %v at %d per second", passed, now-first, rate)
		}
	})
}

// Goal: a burst of one second passes, the next is refused and costs nothing (B2), and Pace says
// when it would pass.
func TestBurst(t *testing.T) {
	var l Limiter
	l.Set(placement.Limits{RequestsPerSecond: 4})
	now := time.Hour
	for i := range 4 {
		if !l.Admit(now, nil) {
			t.Fatalf("request %d of 4 was refused", i+1)
		}
	}
	for range 100 {
		if l.Admit(now, nil) {
			t.Fatal("the fifth passed")
		}
	}
	wait := l.Pace(now, nil)
	if wait <= 0 || wait > time.Second/4 || l.Pace(now+wait-1, nil) == 0 || l.Pace(now+wait, nil) != 0 {
		t.Fatalf("Pace says %v", wait)
	}
	if c := l.Counts(); c != (Counts{Requests: 100}) {
		t.Fatalf("counted %v", c)
	}
	l.Set(placement.Limits{RequestsPerSecond: 1000}) // a raised one holds at once
	if now += time.Second/4 + wait; !l.Admit(now, nil) {
		t.Fatal("refused after the limit was raised")
	}
	l.Set(placement.Limits{})
	if l.Limited() || !l.Admit(now, nil) {
		t.Fatal("limited without a limit")
	}
}

// Goal: of bytes one request may pass the limit, whatever its size, and is paid for later; a
// request that bytes refuse costs no request.
func TestBytes(t *testing.T) {
	var l Limiter
	l.Set(placement.Limits{RequestsPerSecond: 3, BytesPerSecond: 1000})
	now := time.Hour
	if !l.Admit(now, sized(999)) || !l.Admit(now, sized(5000)) {
		t.Fatal("refused within the burst")
	}
	for range 10 {
		if l.Admit(now, sized(1)) {
			t.Fatal("passed above the burst")
		}
	}
	if l.Admit(now+4*time.Second, sized(1)) {
		t.Fatal("5999 bytes were paid for in five seconds")
	}
	if !l.Admit(now+5*time.Second, sized(0)) {
		t.Fatal("refused when they were paid for")
	}
	if c := l.Counts(); c != (Counts{Bytes: 11}) {
		t.Fatalf("counted %v", c)
	}
}

// Goal: no token is given twice, whoever asks at once.
func TestConcurrentRequests(t *testing.T) {
	var l Limiter
	l.Set(placement.Limits{RequestsPerSecond: 1000, Watchers: 10})
	var passed, watchers atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				if l.Admit(time.Minute, nil) {
					passed.Add(1)
				}
				if l.Watch() {
					watchers.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if passed.Load() != 1000 || watchers.Load() > 10 || watchers.Load() == 0 {
		t.Fatalf("%d requests, %d watchers", passed.Load(), watchers.Load())
	}
}

// Goal: a watcher that goes makes room, and lowering the limit ends none.
func TestWatchers(t *testing.T) {
	var l Limiter
	for range 2 {
		if !l.Watch() {
			t.Fatal("refused without a limit")
		}
	}
	l.Set(placement.Limits{Watchers: 1})
	if l.Watch() {
		t.Fatal("a third one of one")
	}
	l.Unwatch(2)
	if !l.Watch() || l.Watch() {
		t.Fatal("not one of one")
	}
	if c := l.Counts(); c != (Counts{Watchers: 2}) {
		t.Fatalf("counted %v", c)
	}
}

// Goal: a hundred clients that ask again and again cost as much as a thousand, and no more than
// so many are held back.
func TestPenalty(t *testing.T) {
	var p Penalty
	var last time.Duration
	for n := 1; n <= heldMax; n++ {
		d := p.Enter()
		if d < max(last, holdMin) || d > holdMax || n >= 25 && n <= 500 && d != time.Duration(n)*holdEach {
			t.Fatalf("the %dth is held for %v", n, d)
		}
		last = d
	}
	if d := p.Enter(); d != 0 {
		t.Fatalf("one too many is held for %v", d)
	}
	for range heldMax + 1 {
		p.Leave()
	}
	if d := p.Enter(); d != holdMin {
		t.Fatalf("the first is held for %v again", d)
	}
}

// What a call pays (B4), and with a limit.
func BenchmarkAdmit(b *testing.B) {
	for name, limits := range map[string]placement.Limits{"none": {}, "rates": {RequestsPerSecond: 1 << 30, BytesPerSecond: 1 << 40}} {
		b.Run(name, func(b *testing.B) {
			var l Limiter
			l.Set(limits)
			size := sized(256)
			for i := range b.N {
				l.Admit(time.Duration(i), size)
			}
		})
	}
}
