package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// answerTypedBytesMax bounds what is read from a terminal.
const answerTypedBytesMax = 1 << 10

// confirm asks on a terminal for the name of what a command is to end. The question is a
// sentence, and done what would have been done to it: "deleted".
func (p *process) confirm(cmd *cobra.Command, name, question, done string) error {
	if !isTerminal(p.stdin) {
		return usagef("%s asks for the name again, and standard input is no terminal: add --%s", cmd.Name(), flagYes)
	}
	fmt.Fprintf(p.stderr, "%s Type its name to go on: ", question)
	ctx, release := p.untilStopped(cmd.Context(), nil)
	defer release()
	typed := make(chan string, 1)
	go func() { // it may wait for ever: the process ends before it
		line, _ := bufio.NewReader(io.LimitReader(p.stdin, answerTypedBytesMax)).ReadString('\n')
		typed <- strings.TrimSpace(line)
	}()
	select {
	case <-ctx.Done():
		return fmt.Errorf("nothing was %s: %w", done, context.Cause(ctx))
	case answer := <-typed:
		if answer != name {
			return fmt.Errorf("nothing was %s: %q was typed, which is not %q: try again, or add --%s", done, answer, name, flagYes)
		}
	}
	return nil
}

// isTerminal reports whether somebody may sit at the other end. It takes /dev/null for a
// terminal, whose user types nothing.
func isTerminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
