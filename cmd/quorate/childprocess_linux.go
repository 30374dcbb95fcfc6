package main

import "syscall"

// endsWithUs has the kernel kill the child when we are gone, and keeps the terminal's
// Ctrl-C from it: we stop the children ourselves, in order.
func endsWithUs() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
