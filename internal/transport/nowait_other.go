//go:build !unix

package transport

import "syscall"

// writeNoWait leaves everything to the writer.
func writeNoWait(syscall.RawConn, []byte) int { return 0 }
