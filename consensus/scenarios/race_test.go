//go:build race

package scenarios

// raced says that the race detector watches: it costs a factor of ten, and there is nothing
// concurrent to find in here.
const raced = true
