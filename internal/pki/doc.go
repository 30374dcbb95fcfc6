// Package pki is TLS made of files in PEM: certificates, their keys, and the authorities that
// vouch for others. The files may be changed while a process uses them.
//
//	pki.go   Store: configurations of TLS for servers and for clients
//	kept.go  what was made of files, and is made anew when they change
//
// # Invariants
//
//	K1  Every handshake looks at the files. What it finds there and can use, it uses.
//	K2  What it cannot use changes nothing: it takes what was used before. The log says
//	    why, once per change.
//	K3  No session is resumed: each connection is verified anew, by the authorities of
//	    its time.
//
// # Deliberately absent
//
// Watching files for changes: names are replaced, linked and mounted over in more ways than a
// watcher sees, and to read a few kilobytes is little beside a handshake. Revocation lists, and
// any meaning of what is in a certificate.
package pki
