package pki

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"

	"github.com/quorate/quorate/internal/env"
)

// Config names the files, and what else of TLS can be chosen.
type Config struct {
	// CertFile and KeyFile are what a server shows to its clients, and a client to servers that
	// ask for it. Both or neither.
	CertFile, KeyFile string
	// ClientCertFile and ClientKeyFile take their place in front of servers. Both or neither.
	ClientCertFile, ClientKeyFile string
	// CAFile holds the authorities that vouch for the other side. With it a server wants a
	// certificate of every client; without it none is asked for, and servers are vouched for
	// by the authorities that the operating system knows.
	CAFile string
	// Insecure lets a client speak to whatever server answers.
	Insecure bool

	// MinVersion and MaxVersion are Go's numbers; zero: 1.2, and no upper bound.
	MinVersion, MaxVersion uint16
	// CipherSuites of TLS 1.2 are Go's numbers; none: Go's choice.
	CipherSuites []uint16
}

// Store has read the files of a Config. It may be used by any number of goroutines.
type Store struct {
	config Config
	clock  env.Clock
	// own and client are nil without certificates, and the same without a pair for clients.
	own, client *kept[*tls.Certificate]
	authorities *kept[*x509.CertPool] // nil: the system's
}

// Open reads the files. The error is a sentence that names the file. What is wrong with the
// dates of a certificate is only logged: a clock may be wrong, and the file may be renewed.
func Open(disk env.FS, clock env.Clock, log *slog.Logger, c Config) (*Store, error) {
	s := &Store{config: c, clock: clock}
	var err error
	if s.own, err = openPair(disk, log, c.CertFile, c.KeyFile); err != nil {
		return nil, err
	}
	if s.client = s.own; c.ClientCertFile != "" {
		if s.client, err = openPair(disk, log, c.ClientCertFile, c.ClientKeyFile); err != nil {
			return nil, err
		}
	}
	if c.CAFile != "" {
		s.authorities = &kept[*x509.CertPool]{disk: disk, log: log, paths: []string{c.CAFile}, parse: func(contents [][]byte) (*x509.CertPool, error) {
			return parseAuthorities(c.CAFile, contents[0])
		}}
		if err := s.authorities.open(); err != nil {
			return nil, err
		}
	}
	s.checkDates(log)
	return s, nil
}

func openPair(disk env.FS, log *slog.Logger, certFile, keyFile string) (*kept[*tls.Certificate], error) {
	if certFile == "" {
		return nil, nil
	}
	k := &kept[*tls.Certificate]{disk: disk, log: log, paths: []string{certFile, keyFile}, parse: func(contents [][]byte) (*tls.Certificate, error) {
		pair, err := tls.X509KeyPair(contents[0], contents[1])
		if err != nil {
			return nil, fmt.Errorf("%s and %s are no certificate and its key in PEM: %s", certFile, keyFile, plain(err))
		}
		return &pair, nil
	}}
	return k, k.open()
}

func parseAuthorities(path string, raw []byte) (*x509.CertPool, error) {
	pool, found := x509.NewCertPool(), false
	for {
		var block *pem.Block
		if block, raw = pem.Decode(raw); block == nil {
			break
		}
		authority, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s has a part that is no certificate: %s", path, plain(err))
		}
		pool.AddCert(authority)
		found = true
	}
	if !found {
		return nil, fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return pool, nil
}

func (s *Store) checkDates(log *slog.Logger) {
	for i, k := range []*kept[*tls.Certificate]{s.own, s.client} {
		if k == nil || i > 0 && k == s.own {
			continue
		}
		leaf, now := k.now().Leaf, s.clock.Now()
		switch {
		case now.After(leaf.NotAfter):
			log.Warn("a certificate has expired: the other side will refuse it", "file", k.paths[0], "not-after", leaf.NotAfter)
		case now.Before(leaf.NotBefore):
			log.Warn("a certificate is not valid yet: the other side will refuse it", "file", k.paths[0], "not-before", leaf.NotBefore)
		}
	}
}

// Server is TLS for a server of these application protocols. There must be a certificate.
func (s *Store) Server(protocols ...string) *tls.Config {
	c := s.base(protocols)
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.own.now(), nil }
	c.SessionTicketsDisabled = true // K3
	if s.authorities == nil {
		return c
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	each := c.Clone()
	each.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now := c.Clone()
		now.ClientCAs = s.authorities.now()
		return now, nil
	}
	return each
}

// Client is TLS for one connection to a server of HTTP/2, which is to be the host.
func (s *Store) Client(host string) *tls.Config {
	c := s.base([]string{"h2"})
	c.ServerName, c.InsecureSkipVerify = host, s.config.Insecure
	if s.authorities != nil {
		c.RootCAs = s.authorities.now()
	}
	if s.client != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return s.client.now(), nil }
	}
	return c
}

// ClientLeaf is the certificate that is shown to servers now, or nil.
func (s *Store) ClientLeaf() *x509.Certificate {
	if s.client == nil {
		return nil
	}
	return s.client.now().Leaf
}

func (s *Store) base(protocols []string) *tls.Config {
	return &tls.Config{
		NextProtos: protocols, Time: s.clock.Now,
		MinVersion: max(s.config.MinVersion, tls.VersionTLS12), MaxVersion: s.config.MaxVersion, CipherSuites: s.config.CipherSuites,
	}
}
