// Package etcdctl runs scripts with the real etcdctl 3.7 against three server
// processes: once with all members up, once with one of them killed, once
// after its restart. What etcdctl prints is compared as text.
package etcdctl
