package transport

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Goal: ends that do not agree exchange no message and no snapshot, whoever dials, and a
// probe is told why; an end that is too old to have terms is judged like any other. Method:
// one side judges, or both; each pair of terms.
func TestTermsAreJudgedAtBothEnds(t *testing.T) {
	agree := func(config *Config) {
		ours := config.Identity.Terms
		config.Agree = func(other Identity) error {
			if other.Terms != ours {
				return fmt.Errorf("%s wants %q and %s has %q", config.Identity.Name, ours, other.Name, other.Terms)
			}
			return nil
		}
	}
	for _, c := range []struct {
		name         string
		a, b         string
		judgeA       bool
		judgeB       bool
		atoB, btoA   bool // connections that stand
		probeRefused bool // a's at b
	}{
		{name: "agreed", a: "x", b: "x", judgeA: true, judgeB: true, atoB: true, btoA: true},
		{name: "differ", a: "x", b: "y", judgeA: true, judgeB: true, probeRefused: true},
		{name: "the other is too old to judge", a: "x", b: "", judgeA: true, probeRefused: true},
		{name: "the asker is too old to judge", a: "", b: "y", judgeB: true, probeRefused: true},
		{name: "nobody judges", a: "", b: "", atoB: true, btoA: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newMemNetwork()
				with := func(terms string, judges bool) func(*Config) {
					return func(config *Config) {
						config.Identity.Terms = terms
						if judges {
							agree(config)
						}
					}
				}
				a, b := start(t, n, "a", with(c.a, c.judgeA)), start(t, n, "b", with(c.b, c.judgeB))
				defer a.Close()
				defer b.Close()
				a.SetPeers(peersOf("b"))
				b.SetPeers(peersOf("a"))
				time.Sleep(3 * time.Second)
				if up := a.peerStats(t, "b").State == "up"; up != c.atoB {
					t.Errorf("a reaches b: %v, %+v", up, a.peerStats(t, "b"))
				}
				if up := b.peerStats(t, "a").State == "up"; up != c.btoA {
					t.Errorf("b reaches a: %v, %+v", up, b.peerStats(t, "a"))
				}
				_, err := a.Transport.Probe(t.Context(), "b:1")
				var refused *RefusedError
				if errors.As(err, &refused) != c.probeRefused || refused != nil && refused.Reason != ReasonTerms {
					t.Errorf("probe: %v", err)
				}
			})
		})
	}
}

// Handshake messages of the build before terms, as it wrote them to its golden file.
const (
	helloWithoutTerms = `
		93 51 50 45 45 52 0d 0a  01 00 02 00 36 00 00 00
		34 29 d7 b3 02 06 05 04  03 02 01 00 00 88 77 66
		55 44 33 22 11 f6 e5 d4  c3 b2 a1 00 00 03 00 ef
		cd ab 90 78 56 34 12 01  00 00 00 02 00 00 00 00
		ff ee dd cc bb aa 99 02  6e 31`
	verdictWithoutTerms = `
		93 51 50 45 45 52 0d 0a  01 00 01 00 37 00 00 00
		d0 d8 db 31 05 88 77 66  55 44 33 22 11 f6 e5 d4
		c3 b2 a1 00 00 03 00 ef  cd ab 90 78 56 34 12 01
		00 00 00 02 00 00 00 05  00 00 00 00 00 00 00 02
		6e 31 07 00 67 6f 20 61  77 61 79`
)

// Goal: a build without terms and one with them understand each other. Method: what the
// earlier one sent is read, and is the beginning of what is sent today, which it reads up to
// there.
func TestHandshakeWithoutTerms(t *testing.T) {
	body := func(text string) []byte {
		raw, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
		if err != nil {
			t.Fatal(err)
		}
		_, body, err := readHandshake(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	hello, v := sampleHello(), sampleVerdict()
	oldHello, oldVerdict := body(helloWithoutTerms), body(verdictWithoutTerms)
	if !bytes.HasPrefix(appendHello(nil, &hello), oldHello) || !bytes.HasPrefix(appendVerdict(nil, &v), oldVerdict) {
		t.Error("an earlier build cannot read what is sent today")
	}
	hello.Terms, v.Identity.Terms = "", ""
	gotHello, err := decodeHello(oldHello)
	if diff := cmp.Diff(hello, gotHello); err != nil || diff != "" {
		t.Errorf("hello: %v\n%s", err, diff)
	}
	gotVerdict, err := decodeVerdict(oldVerdict)
	if diff := cmp.Diff(v, gotVerdict); err != nil || diff != "" {
		t.Errorf("verdict: %v\n%s", err, diff)
	}
}

// Goal: terms are bounded and whole. Method: a length beyond the limit, and one beyond the end.
func TestMalformedTerms(t *testing.T) {
	hello := sampleHello()
	hello.Terms = ""
	b := appendHello(nil, &hello)
	b = b[:len(b)-2]
	for name, tail := range map[string][]byte{
		"too long":     append([]byte{0x01, 0x04}, make([]byte, maxTermsBytes+1)...),
		"cut short":    {5, 0, 'x'},
		"half a count": {5},
	} {
		if h, err := decodeHello(append(bytes.Clone(b), tail...)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
	}
	if _, err := decodeHello(append(bytes.Clone(b), 1, 0, 'x', 'y', 'z')); err != nil {
		t.Errorf("what a later build adds behind the terms: %v", err)
	}
}
