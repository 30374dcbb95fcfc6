package document

import (
	"errors"
	"strings"
	"testing"
)

// Goal: what differs from what is made is said, with the place and what to do.
func TestCheck(t *testing.T) {
	m := Maker{Command: "make page"}
	if err := m.Check("page.md", "one\ntwo\n", "one\ntwo\n"); err != nil {
		t.Errorf("a file as it is made: %v", err)
	}
	for current, want := range map[string]string{
		"one\nthree\n": "line 2 is  three\nand made is two",
		"one\ntwo":     "it has 2 lines, and made are 3",
		"":             "line 1 is  \nand made is one",
	} {
		err := m.Check("page.md", current, "one\ntwo\n")
		if !errors.Is(err, ErrStale) || !strings.Contains(err.Error(), "page.md") || !strings.Contains(err.Error(), "run: make page") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", current, err)
		}
	}
}

// Goal: a table goes between its comments, and a document without them is refused.
func TestReplace(t *testing.T) {
	m := Maker{Command: "make page"}
	const page = "a\n<!-- x: made by make page -->\nold\n<!-- end of x -->\nb\n"
	got, err := m.Replace(page, "x", "new\n")
	if want := "a\n<!-- x: made by make page -->\n\nnew\n\n<!-- end of x -->\nb\n"; err != nil || got != want {
		t.Errorf("%q, %v", got, err)
	}
	if again, err := m.Replace(got, "x", "new\n"); err != nil || again != got {
		t.Errorf("made again: %q, %v", again, err)
	}
	for _, bad := range []string{"", "<!-- x: made by make page -->\n", "<!-- end of x -->\n"} {
		if _, err := m.Replace(bad, "x", "new\n"); err == nil {
			t.Errorf("%q has no place for a table", bad)
		}
	}
}

// Goal: text from elsewhere is text in a picture, not markup.
func TestPictureEscapes(t *testing.T) {
	p := Picture{Width: 10, Height: 5.04, About: `a "b" <c>`}
	p.Text(1, 2.25, "p", "start", "x < y & z")
	s := p.String()
	for _, want := range []string{"a &#34;b&#34; &lt;c&gt;", `<text x="1" y="2.3" class="p" text-anchor="start">x &lt; y &amp; z</text>`, `height="5"`} {
		if !strings.Contains(s, want) {
			t.Errorf("%s\nlacks %s", s, want)
		}
	}
}
