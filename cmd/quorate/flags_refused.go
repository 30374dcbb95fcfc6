package main

// What a refused flag would have to do. Each completes "because ...".
const (
	needsPeerTLS   = "TLS between nodes is not built yet, and without it their traffic would go in the clear"
	needsChecks    = "certificates are not checked for this yet, and without it more clients would be let in"
	needsOwnCert   = "certificates are not made here: name one with --cert-file and --key-file"
	needsAuth      = "authentication is not built yet, and without it every client may do everything"
	needsOrigins   = "the list would not be enforced yet, and every origin or host would be accepted"
	needsDiscovery = "discovery is not built yet, and without it the node would found a cluster of its own"
	needsRebuild   = "rebuilding a cluster from one member is not built yet"
)

// refusedFlags are those of etcd's flags whose absence would weaken security, durability
// or identity (Q3). Asking for etcd's default is allowed: it asks for nothing.
var refusedFlags = []flagSpec{
	{name: "client-crl-file", note: needsChecks},
	{name: "client-cert-allowed-hostname", note: needsChecks},
	{name: "auto-tls", kind: boolean, preset: "false", note: needsOwnCert},
	{name: "peer-cert-file", note: needsPeerTLS},
	{name: "peer-key-file", note: needsPeerTLS},
	{name: "peer-client-cert-auth", kind: boolean, preset: "false", note: needsPeerTLS},
	{name: "peer-client-cert-file", note: needsPeerTLS},
	{name: "peer-client-key-file", note: needsPeerTLS},
	{name: "peer-trusted-ca-file", note: needsPeerTLS},
	{name: "peer-cert-allowed-cn", note: needsPeerTLS},
	{name: "peer-cert-allowed-hostname", note: needsPeerTLS},
	{name: "peer-auto-tls", kind: boolean, preset: "false", note: needsPeerTLS},
	{name: "peer-crl-file", note: needsPeerTLS},
	{name: "peer-skip-client-san-verification", kind: boolean, preset: "false", note: needsPeerTLS},
	{name: "self-signed-cert-validity", kind: natural, preset: "1", note: needsOwnCert},

	{name: "auth-token", preset: "simple", note: needsAuth},
	{name: "auth-token-ttl", kind: natural, preset: "300", note: needsAuth},
	{name: "bcrypt-cost", kind: natural, preset: "10", note: needsAuth},

	{name: "cors", preset: "*", note: needsOrigins},
	{name: "host-whitelist", preset: "*", note: needsOrigins},

	{name: "discovery", note: needsDiscovery},
	{name: "discovery-token", note: needsDiscovery},
	{name: "discovery-endpoints", note: needsDiscovery},
	{name: "discovery-dial-timeout", kind: duration, preset: "2s", note: needsDiscovery},
	{name: "discovery-request-timeout", kind: duration, preset: "5s", note: needsDiscovery},
	{name: "discovery-keepalive-time", kind: duration, preset: "2s", note: needsDiscovery},
	{name: "discovery-keepalive-timeout", kind: duration, preset: "6s", note: needsDiscovery},
	{name: "discovery-insecure-transport", kind: boolean, preset: "true", note: needsDiscovery},
	{name: "discovery-insecure-skip-tls-verify", kind: boolean, preset: "false", note: needsDiscovery},
	{name: "discovery-cert", note: needsDiscovery},
	{name: "discovery-key", note: needsDiscovery},
	{name: "discovery-cacert", note: needsDiscovery},
	{name: "discovery-user", note: needsDiscovery},
	{name: "discovery-password", note: needsDiscovery},
	{name: "discovery-fallback", preset: "exit", note: needsDiscovery},
	{name: "discovery-proxy", note: needsDiscovery},
	{name: "discovery-srv", note: needsDiscovery},
	{name: "discovery-srv-name", note: needsDiscovery},

	{name: "force-new-cluster", kind: boolean, preset: "false", note: needsRebuild},
}
