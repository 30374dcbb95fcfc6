// Package tls asks real processes in TLS: etcdctl with certificates, one of which is for a keyspace
// that other members carry, and a certificate that is renewed while it is served.
package tls
