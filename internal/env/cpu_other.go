//go:build !unix

package env

// SystemCPU returns the operating system's account of this process; nil where there is none.
func SystemCPU() CPU { return nil }
