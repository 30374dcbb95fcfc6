package env

import "time"

// CPU is the door to what this process takes of the processors.
type CPU interface {
	// Used is the processor time that it has taken since it began. It never goes back.
	Used() time.Duration
}
