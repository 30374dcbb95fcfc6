package crash

import "strings"

// Operation is one file operation, as the kernel was asked for it.
type Operation struct {
	Kind string // name of the system call
	Path string // relative to the data directory; of a rename or link both, old and new
}

// String prints the operation as a failed test names it.
func (o Operation) String() string { return o.Kind + " " + o.Path }

// Class is what the operation does, whichever system call does it.
type Class string

// Classes of operations. A large enough run must have killed before each of the
// required ones (I6).
const (
	classOpen   Class = "open"   // with O_CREAT or O_TRUNC
	classWrite  Class = "write"  // of a regular file
	classSync   Class = "sync"   // of a file or a directory
	classSize   Class = "size"   // of a file: truncated or allocated
	classRename Class = "rename" // or link
	classRemove Class = "remove" // of a file or a directory
	classMkdir  Class = "mkdir"
)

var requiredClasses = []Class{classOpen, classWrite, classSync, classRename}

// classPrefixes maps system calls to classes, by the beginning of their names.
var classPrefixes = []struct {
	prefix string
	class  Class
}{
	{"open", classOpen}, {"creat", classOpen},
	{"write", classWrite}, {"pwrite", classWrite}, {"copy_file", classWrite}, {"sendfile", classWrite},
	{"fsync", classSync}, {"fdatasync", classSync}, {"sync_file", classSync},
	{"ftruncate", classSize}, {"truncate", classSize}, {"fallocate", classSize},
	{"rename", classRename}, {"link", classRename}, {"symlink", classRename},
	{"unlink", classRemove}, {"rmdir", classRemove}, {"mkdir", classMkdir},
}

// Class returns the operation's class.
func (o Operation) Class() Class {
	for _, row := range classPrefixes {
		if strings.HasPrefix(o.Kind, row.prefix) {
			return row.class
		}
	}
	panic("no class for system call " + o.Kind)
}
