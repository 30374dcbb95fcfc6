package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/quorate/quorate/internal/env"
	"github.com/quorate/quorate/internal/pki"
	"github.com/quorate/quorate/internal/server"
)

// tlsVersions are the names that etcd gives them.
var tlsVersions = map[string]uint16{"": 0, "TLS1.2": tls.VersionTLS12, "TLS1.3": tls.VersionTLS13}

// resolveTLS reads how clients are served in TLS. It comes after the URLs, which decide where.
func resolveTLS(s *settings, c *Config) error {
	c.TLS = pki.Config{
		CertFile: s.text("cert-file"), KeyFile: s.text("key-file"),
		ClientCertFile: s.text("client-cert-file"), ClientKeyFile: s.text("client-key-file"),
		CAFile: s.text("trusted-ca-file"),
	}
	for _, pair := range [][2]string{{"cert-file", "key-file"}, {"client-cert-file", "client-key-file"}} {
		if (s.text(pair[0]) == "") != (s.text(pair[1]) == "") {
			given, missing := pair[0], pair[1]
			if s.text(given) == "" {
				given, missing = missing, given
			}
			return fmt.Errorf("%s needs --%s beside it: a certificate and its key are two files", s.where(given), missing)
		}
	}
	if err := resolveTLSVersions(s, &c.TLS); err != nil {
		return err
	}
	flag, u := c.firstHTTPS()
	secured := u != ""
	switch {
	case secured && c.TLS.CertFile == "":
		return fmt.Errorf("%s has %s, and there is no certificate for it: add --cert-file and --key-file", s.where(flag), u)
	case s.boolean("client-cert-auth") && c.TLS.CAFile == "":
		return fmt.Errorf("%s needs --trusted-ca-file: without it every certificate of a public authority would do", s.where("client-cert-auth"))
	case c.TLS.CertFile != "" && !secured:
		return fmt.Errorf("%s has no effect without an https URL to listen on, and clients would be served in the clear: write https:// in --listen-client-urls or --%s",
			s.where("cert-file"), flagListen)
	case s.boolean("client-cert-auth") && !secured:
		return fmt.Errorf("%s has no effect without an https URL to listen on: add --cert-file and --key-file, and write https:// in --listen-client-urls", s.where("client-cert-auth"))
	}
	c.doubtTLS(s, secured)
	return nil
}

// doubtTLS warns of what is legal and probably not meant.
func (c *Config) doubtTLS(s *settings, secured bool) {
	if !secured {
		return
	}
	// Metrics in the clear are for probes, which have no certificate.
	for _, u := range slices.Concat(c.ListenClientURLs, keyspaceURLs(c.KeyspacePorts)) {
		if c.TLS.CAFile != "" && !isHTTPS(u) {
			s.doubt("trusted-ca-file", "does not guard %s, which serves clients without a certificate", u)
		}
	}
	if !slices.ContainsFunc(c.ListenClientURLs, func(u string) bool { return !isHTTPS(u) }) {
		if i := slices.IndexFunc(c.AdvertiseClientURLs, func(u string) bool { return !isHTTPS(u) }); i >= 0 {
			s.doubt("advertise-client-urls", "has %s, and --listen-client-urls has https alone: clients and other members will not get through", c.AdvertiseClientURLs[i])
		}
	}
}

func resolveTLSVersions(s *settings, c *pki.Config) error {
	c.MinVersion, c.MaxVersion = tlsVersions[s.text("tls-min-version")], tlsVersions[s.text("tls-max-version")]
	if c.MaxVersion != 0 && c.MaxVersion < c.MinVersion {
		return fmt.Errorf("%s is below --tls-min-version: raise it", s.where("tls-max-version"))
	}
	names := s.list("cipher-suites")
	if len(names) > 0 && c.MinVersion == tls.VersionTLS13 {
		return fmt.Errorf("%s has no effect with --tls-min-version TLS1.3, whose suites cannot be chosen: leave it out", s.where("cipher-suites"))
	}
	for _, name := range names {
		i := slices.IndexFunc(tls.CipherSuites(), func(suite *tls.CipherSuite) bool { return suite.Name == name })
		if i < 0 {
			return fmt.Errorf("%s has %.64q, which is unknown or not safe: write Go's names, as TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", s.where("cipher-suites"), name)
		}
		c.CipherSuites = append(c.CipherSuites, tls.CipherSuites()[i].ID)
	}
	return nil
}

// firstHTTPS is a URL in TLS that clients or probes are served at, and its flag; or empty.
func (c *Config) firstHTTPS() (flag, u string) {
	for _, of := range []listenFlag{
		{"listen-client-urls", c.ListenClientURLs}, {flagListen, keyspaceURLs(c.KeyspacePorts)}, {"listen-metrics-urls", c.ListenHTTPURLs},
	} {
		if i := slices.IndexFunc(of.urls, isHTTPS); i >= 0 {
			return of.name, of.urls[i]
		}
	}
	return "", ""
}

func keyspaceURLs(ports []KeyspacePort) []string {
	urls := make([]string, len(ports))
	for i, p := range ports {
		urls[i] = p.URL
	}
	return urls
}

func isHTTPS(u string) bool { return strings.HasPrefix(u, "https://") }

// openTLS reads the files of a node. The error is a sentence for the user.
func openTLS(disk env.FS, c *Config, log *slog.Logger) (*pki.Store, error) {
	store, err := pki.Open(disk, env.SystemClock(), log, c.TLS)
	if err != nil {
		return nil, fmt.Errorf("%w: correct %s", err, flagsOf(&c.TLS))
	}
	leaf := store.ClientLeaf()
	if leaf == nil {
		return store, nil
	}
	if keyspace, err := server.KeyspaceOf(leaf); err != nil || keyspace != "" {
		return nil, fmt.Errorf("the certificate that this node shows to other members is bound to a keyspace by its URI: use one without %s", server.CertificateURI)
	}
	if c.TLS.CAFile != "" && !forClients(leaf) {
		log.Warn("the certificate that this node shows to other members is not for clients: those that want a certificate will not take the calls that it passes on",
			"remedy", "issue it for clientAuth too, or add --client-cert-file and --client-key-file")
	}
	return store, nil
}

// flagsOf names the flags whose files can be wrong.
func flagsOf(c *pki.Config) string {
	var flags []string
	for _, f := range []struct{ name, value string }{
		{"--cert-file", c.CertFile}, {"--key-file", c.KeyFile}, {"--client-cert-file", c.ClientCertFile},
		{"--client-key-file", c.ClientKeyFile}, {"--trusted-ca-file", c.CAFile},
	} {
		if f.value != "" {
			flags = append(flags, f.name)
		}
	}
	return strings.Join(flags, ", ")
}

// forClients reports whether servers take a certificate for a client's.
func forClients(leaf *x509.Certificate) bool {
	return len(leaf.ExtKeyUsage) == 0 && len(leaf.UnknownExtKeyUsage) == 0 ||
		slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// secure puts TLS around a listener of an https URL.
func secure(l net.Listener, u string, store *pki.Store, protocols ...string) net.Listener {
	if !isHTTPS(u) {
		return l
	}
	return tls.NewListener(l, store.Server(protocols...))
}

const (
	flagCACert   = "cacert"
	flagCert     = "cert"
	flagKey      = "key"
	flagInsecure = "insecure-skip-tls-verify"
)

// clientTLSFlags are etcdctl's, by which a command gets TLS. Each has etcdctl's variable.
var clientTLSFlags = []flagSpec{
	{name: flagCACert, note: "authorities in PEM that vouch for https nodes (default the system's)"},
	{name: flagCert, note: "certificate in PEM that this client shows to them"},
	{name: flagKey, note: "its key in PEM"},
	{name: flagInsecure, kind: boolean, preset: "false", note: "believe any node that it is the one; for tests"},
}

// etcdctlVariable is the one that sets a flag of etcdctl's.
func etcdctlVariable(flag string) string {
	return "ETCDCTL_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// openClientTLS reads a command's flags and variables by name. wanted says that there is one, and
// nodes named without a scheme are therefore https, as with etcdctl.
func openClientTLS(value func(flag string) string) (store *pki.Store, wanted bool, err error) {
	c := pki.Config{CAFile: value(flagCACert), CertFile: value(flagCert), KeyFile: value(flagKey)}
	if err := boolean.check(value(flagInsecure)); err != nil {
		return nil, false, fmt.Errorf("%s: %w", etcdctlVariable(flagInsecure), err)
	}
	c.Insecure, _ = strconv.ParseBool(value(flagInsecure))
	if (c.CertFile == "") != (c.KeyFile == "") {
		return nil, false, errors.New("a certificate and its key are two files: give both --cert and --key")
	}
	store, err = pki.Open(env.OSFS(), env.SystemClock(), slog.New(slog.DiscardHandler), c)
	if err != nil {
		return nil, false, fmt.Errorf("%w: correct --cacert, --cert or --key", err)
	}
	return store, c.CAFile != "" || c.CertFile != "" || c.Insecure, nil
}
