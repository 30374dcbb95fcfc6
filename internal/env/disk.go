package env

import "github.com/cockroachdb/pebble/v2/vfs"

// FS is the door to the disk: the log, the engine and the small files beside them
// all go through one FS.
type FS = vfs.FS

// File is an open file of an FS.
type File = vfs.File

// OSFS returns the operating system's file system.
func OSFS() FS { return vfs.Default }
