package document

import (
	"errors"
	"fmt"
	"strings"
)

// ErrStale says that a file is not what is made any more.
var ErrStale = errors.New("not what is made any more")

// Maker makes the parts of documents.
type Maker struct {
	Command string // what a person types to make them: "make engines"
}

// Replace puts a table between the two comments that carry its name in a document.
func (m Maker) Replace(text, name, table string) (string, error) {
	begin, end := "<!-- "+name+": made by "+m.Command+" -->\n", "<!-- end of "+name+" -->\n"
	before, rest, ok := strings.Cut(text, begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return "", fmt.Errorf("the document has no %sand %s", begin, end)
	}
	return before + begin + "\n" + table + "\n" + end + after, nil
}

// Check returns ErrStale, wrapped with the first difference, unless a file is as it is made.
func (m Maker) Check(file, current, made string) error {
	if current == made {
		return nil
	}
	return fmt.Errorf("%s is %w; run: %s, and look at what changed\n%s", file, ErrStale, m.Command, firstChange(current, made))
}

// firstChange is the first line in which two texts differ.
func firstChange(a, b string) string {
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	for k := range min(len(as), len(bs)) {
		if as[k] != bs[k] {
			return fmt.Sprintf("line %d is  %s\nand made is %s", k+1, as[k], bs[k])
		}
	}
	return fmt.Sprintf("it has %d lines, and made are %d", len(as), len(bs))
}
