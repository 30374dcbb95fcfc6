package shard

import (
	"bytes"
	"errors"
	"testing"

	"github.com/quorate/quorate/internal/engine"
	"github.com/quorate/quorate/internal/store"
)

func openStore(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(engine.NewMemory(), 2, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func filledState(t testing.TB) (state []byte, hash uint64) {
	t.Helper()
	s := openStore(t)
	for i := range 20 {
		put := store.PutRequest{Key: []byte{byte(i)}, Value: bytes.Repeat([]byte("v"), i*50)}
		data := store.AppendEnvelope(nil, &store.Envelope{Kind: store.KindPut, Shard: 2, Body: put.AppendTo(nil)})
		e := store.Entry{Index: uint64(i + 1), Epoch: 1, Kind: store.EntryCommand, Data: data}
		if err := s.Apply([]store.Entry{e}, nil, func(*store.Result) {}); err != nil {
			t.Fatal(err)
		}
	}
	view, err := s.View()
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	var b bytes.Buffer
	if err := WriteState(&b, 2, view); err != nil {
		t.Fatal(err)
	}
	if hash, err = view.Hash(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), hash
}

// Goal: a state that is written and read is the same state.
func TestStateRoundTrip(t *testing.T) {
	state, want := filledState(t)
	s := openStore(t)
	if err := ReadState(bytes.NewReader(state), s); err != nil {
		t.Fatal(err)
	}
	view, err := s.View()
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	if got, err := view.Hash(); err != nil || got != want {
		t.Errorf("hash %x (%v), want %x", got, err, want)
	}
}

// Goal: a state that ends early changes nothing.
func TestStateTruncated(t *testing.T) {
	state, _ := filledState(t)
	for n := 0; n < len(state); n += 1 + len(state)/200 {
		s := openStore(t)
		if err := ReadState(bytes.NewReader(state[:n]), s); err == nil {
			t.Fatalf("%d of %d bytes are a state", n, len(state))
		}
		if s.Applied().Index != 0 {
			t.Fatalf("%d of %d bytes changed the store", n, len(state))
		}
	}
}

func FuzzReadState(f *testing.F) {
	state, _ := filledState(f)
	f.Add(state[:200])
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, b []byte) {
		s := openStore(t)
		if err := ReadState(bytes.NewReader(b), s); errors.Is(err, ErrState) && s.Applied().Index != 0 {
			t.Fatal("a refused state changed the store")
		}
	})
}
