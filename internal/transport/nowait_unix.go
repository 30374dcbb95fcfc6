//go:build unix

package transport

import (
	"errors"
	"syscall"
)

// writeNoWait writes what the kernel takes at once and returns how much that was. An
// error shows with the next write.
func writeNoWait(raw syscall.RawConn, b []byte) (n int) {
	_ = raw.Write(func(fd uintptr) bool {
		for n < len(b) {
			m, err := syscall.Write(int(fd), b[n:])
			if errors.Is(err, syscall.EINTR) {
				continue
			}
			if err != nil || m <= 0 {
				break
			}
			n += m
		}
		return true // never wait
	})
	return n
}
