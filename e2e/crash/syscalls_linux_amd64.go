package crash

import "golang.org/x/sys/unix"

// The old forms without a directory, which arm64 never had.
func init() {
	calls[unix.SYS_OPEN] = call{name: "open", paths: []pathArg{{cwd, 0}}, flags: 1}
	calls[unix.SYS_CREAT] = call{name: "creat", paths: []pathArg{{cwd, 0}}}
	calls[unix.SYS_RENAME] = call{name: "rename", paths: []pathArg{{cwd, 0}, {cwd, 1}}}
	calls[unix.SYS_LINK] = call{name: "link", paths: []pathArg{{cwd, 0}, {cwd, 1}}}
	calls[unix.SYS_SYMLINK] = call{name: "symlink", paths: []pathArg{{cwd, 1}}}
	calls[unix.SYS_UNLINK] = call{name: "unlink", paths: []pathArg{{cwd, 0}}}
	calls[unix.SYS_RMDIR] = call{name: "rmdir", paths: []pathArg{{cwd, 0}}}
	calls[unix.SYS_MKDIR] = call{name: "mkdir", paths: []pathArg{{cwd, 0}}}
}
