//go:build linux && (amd64 || arm64)

package crash

import "golang.org/x/sys/unix"

// call describes a system call that may change a file: where its arguments name the
// file. A call that only changes one that is open already has no paths.
type call struct {
	name  string
	fd    int // the argument that is the file; meaningful without paths
	paths []pathArg
	flags int // the argument with O_CREAT and O_TRUNC, without which nothing changes; 0 is none
}

// pathArg is a path and the directory that it is relative to.
type pathArg struct {
	dir  int // the argument; cwd is the working directory
	path int
}

const cwd = -1

// calls are the system calls that count. What both architectures have stands here.
var calls = map[uint64]call{
	unix.SYS_OPENAT: {name: "openat", paths: []pathArg{{0, 1}}, flags: 2},

	unix.SYS_WRITE:           {name: "write"},
	unix.SYS_WRITEV:          {name: "writev"},
	unix.SYS_PWRITE64:        {name: "pwrite64"},
	unix.SYS_PWRITEV:         {name: "pwritev"},
	unix.SYS_PWRITEV2:        {name: "pwritev2"},
	unix.SYS_SENDFILE:        {name: "sendfile"},
	unix.SYS_COPY_FILE_RANGE: {name: "copy_file_range", fd: 2},

	unix.SYS_FSYNC:           {name: "fsync"},
	unix.SYS_FDATASYNC:       {name: "fdatasync"},
	unix.SYS_SYNC_FILE_RANGE: {name: "sync_file_range"},

	unix.SYS_FTRUNCATE: {name: "ftruncate"},
	unix.SYS_FALLOCATE: {name: "fallocate"},
	unix.SYS_TRUNCATE:  {name: "truncate", paths: []pathArg{{cwd, 0}}},

	unix.SYS_RENAMEAT:  {name: "renameat", paths: []pathArg{{0, 1}, {2, 3}}},
	unix.SYS_RENAMEAT2: {name: "renameat2", paths: []pathArg{{0, 1}, {2, 3}}},
	unix.SYS_LINKAT:    {name: "linkat", paths: []pathArg{{0, 1}, {2, 3}}},
	unix.SYS_SYMLINKAT: {name: "symlinkat", paths: []pathArg{{1, 2}}},
	unix.SYS_UNLINKAT:  {name: "unlinkat", paths: []pathArg{{0, 1}}},
	unix.SYS_MKDIRAT:   {name: "mkdirat", paths: []pathArg{{0, 1}}},
}
