package pki_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/internal/env"
	"github.com/quorate/quorate/internal/pki"
	"github.com/quorate/quorate/internal/pki/pkitest"
)

// logged opens a store and returns what it logs.
func logged(t *testing.T, c pki.Config) (*pki.Store, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer)
	s, err := pki.Open(env.OSFS(), env.SystemClock(), slog.New(slog.NewTextHandler(log, nil)), c)
	if err != nil {
		t.Fatal(err)
	}
	return s, log
}

// shake makes one handshake and returns the serial numbers that each side has seen of the other.
func shake(server, client *tls.Config) (ofServer, ofClient string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer l.Close()
	here, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return "", "", err
	}
	there, err := l.Accept()
	if err != nil {
		return "", "", err
	}
	s, c := tls.Server(there, server), tls.Client(here, client)
	defer s.Close()
	defer c.Close()
	done := make(chan error, 1)
	go func() { done <- c.Handshake() }()
	if err := errors.Join(s.Handshake(), <-done); err != nil {
		return "", "", err
	}
	if certs := s.ConnectionState().PeerCertificates; len(certs) > 0 {
		ofClient = certs[0].SerialNumber.String()
	}
	return c.ConnectionState().PeerCertificates[0].SerialNumber.String(), ofClient, nil
}

// Goal: a pair that changes is used by the next handshake, and one that is broken changes
// nothing and is said once (K1, K2).
func TestRotation(t *testing.T) {
	dir, authority := t.TempDir(), pkitest.NewAuthority(t)
	first, second := authority.Sign(t, nil), authority.Sign(t, nil)
	certFile, keyFile := first.Write(t, dir, "server")
	s, log := logged(t, pki.Config{CertFile: certFile, KeyFile: keyFile})
	server, client := s.Server("h2"), authority.Client(t, pkitest.Pair{})
	client.ServerName = "localhost"
	now := func() string {
		t.Helper()
		serial, _, err := shake(server, client)
		if err != nil {
			t.Fatal(err)
		}
		return serial
	}
	before := now()
	pkitest.Write(t, dir, "server.crt", second.Cert) // whose key is to come
	for range 3 {
		if got := now(); got != before {
			t.Errorf("half a pair is used: %s", got)
		}
	}
	if n := strings.Count(log.String(), "level=ERROR"); n != 1 || !strings.Contains(log.String(), "private key does not match public key") {
		t.Errorf("%d lines about one change:\n%s", n, log)
	}
	pkitest.Write(t, dir, "server.key", second.Key)
	after := now()
	if after == before {
		t.Error("the new pair is not used")
	}
	os.Remove(keyFile)
	for range 3 {
		if got := now(); got != after {
			t.Errorf("without a key the certificate is %s", got)
		}
	}
	pkitest.Write(t, dir, "server.key", second.Key)
	now()
	os.Remove(certFile)
	now()
	if n := strings.Count(log.String(), "level=ERROR"); n != 3 {
		t.Errorf("%d lines about three changes:\n%s", n, log)
	}
}

// Goal: a client's certificate is asked for and verified by the authorities of the file as it
// is now, and no old session gets around that (K3).
func TestClientsAreVerified(t *testing.T) {
	dir, ours, theirs := t.TempDir(), pkitest.NewAuthority(t), pkitest.NewAuthority(t)
	certFile, keyFile := ours.Sign(t, nil).Write(t, dir, "server")
	caFile := pkitest.Write(t, dir, "ca.crt", ours.PEM)
	s, _ := logged(t, pki.Config{CertFile: certFile, KeyFile: keyFile, CAFile: caFile})
	server := s.Server("h2")
	client := ours.Client(t, ours.Sign(t, nil))
	client.ServerName, client.ClientSessionCache = "localhost", tls.NewLRUClientSessionCache(8)
	stranger := ours.Client(t, theirs.Sign(t, nil))
	stranger.ServerName = "localhost"
	for range 2 {
		if _, seen, err := shake(server, client); err != nil || seen == "" {
			t.Fatalf("%q, %v", seen, err)
		}
	}
	if _, _, err := shake(server, stranger); err == nil {
		t.Error("a stranger's certificate is accepted")
	}
	none := ours.Client(t, pkitest.Pair{})
	none.ServerName = "localhost"
	if _, _, err := shake(server, none); err == nil {
		t.Error("a client without a certificate is accepted")
	}
	pkitest.Write(t, dir, "ca.crt", theirs.PEM)
	if _, _, err := shake(server, client); err == nil {
		t.Error("a certificate of the authority that is gone is accepted")
	}
	if _, _, err := shake(server, stranger); err != nil {
		t.Errorf("one of the new authority: %v", err)
	}
}

// Goal: a store's own client shows its certificate and knows whom it speaks to.
func TestClient(t *testing.T) {
	dir, authority := t.TempDir(), pkitest.NewAuthority(t)
	certFile, keyFile := authority.Sign(t, nil).Write(t, dir, "server")
	forClients, keyForClients := authority.Sign(t, nil).Write(t, dir, "client")
	c := pki.Config{CertFile: certFile, KeyFile: keyFile, CAFile: pkitest.Write(t, dir, "ca.crt", authority.PEM)}
	own, _ := logged(t, c)
	c.ClientCertFile, c.ClientKeyFile = forClients, keyForClients
	two, _ := logged(t, c)
	seen := make(map[string]bool)
	for _, s := range []*pki.Store{own, two} {
		for _, host := range []string{"127.0.0.1", "localhost", "db1.example"} {
			server, client, err := shake(s.Server("h2"), s.Client(host))
			if err != nil {
				t.Errorf("%s: %v", host, err)
			}
			if (client == server) != (s == own) {
				t.Errorf("the client shows %s, and the server %s", client, server)
			}
			seen[client] = true
		}
		if _, _, err := shake(s.Server("h2"), s.Client("db2.example")); err == nil {
			t.Error("a server with another name is accepted")
		}
	}
	if len(seen) != 2 {
		t.Errorf("certificates of clients: %v", seen)
	}
	insecure, _ := logged(t, pki.Config{Insecure: true, CertFile: certFile, KeyFile: keyFile})
	if _, _, err := shake(own.Server("h2"), insecure.Client("db2.example")); err != nil {
		t.Error(err)
	}
}

// Goal: what cannot be used is one sentence that names the file, and dates are only doubted.
func TestOpenMistakes(t *testing.T) {
	dir, authority := t.TempDir(), pkitest.NewAuthority(t)
	certFile, keyFile := authority.Sign(t, nil).Write(t, dir, "a")
	_, otherKey := authority.Sign(t, nil).Write(t, dir, "b")
	junk := pkitest.Write(t, dir, "junk", []byte("junk"))
	large := pkitest.Write(t, dir, "large", make([]byte, 1<<20+1))
	part := pkitest.Write(t, dir, "part", append(bytes.Clone(authority.PEM), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"...))
	missing := filepath.Join(dir, "missing")
	for _, c := range []struct {
		config pki.Config
		want   string
	}{
		{pki.Config{CertFile: missing, KeyFile: keyFile}, missing + " cannot be read: no such file or directory"},
		{pki.Config{CertFile: certFile, KeyFile: missing}, missing + " cannot be read"},
		{pki.Config{CertFile: dir, KeyFile: keyFile}, dir + " cannot be read: is a directory"},
		{pki.Config{CertFile: certFile, KeyFile: otherKey}, "private key does not match public key"},
		{pki.Config{CertFile: certFile, KeyFile: certFile}, "are no certificate and its key in PEM"},
		{pki.Config{CertFile: junk, KeyFile: keyFile}, junk + " and " + keyFile + " are no certificate"},
		{pki.Config{CertFile: large, KeyFile: keyFile}, large + " is larger than 1 MiB"},
		{pki.Config{CAFile: missing}, missing + " cannot be read"},
		{pki.Config{CAFile: junk}, junk + " holds no certificate in PEM"},
		{pki.Config{CAFile: part}, part + " has a part that is no certificate"},
		{pki.Config{ClientCertFile: junk, ClientKeyFile: keyFile}, junk},
	} {
		_, err := pki.Open(env.OSFS(), env.SystemClock(), slog.New(slog.DiscardHandler), c.config)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "tls:") {
			t.Errorf("%+v: %v, want %q", c.config, err, c.want)
		}
	}
	for want, change := range map[string]func(*x509.Certificate){
		"has expired":      func(c *x509.Certificate) { c.NotAfter = c.NotBefore.Add(time.Hour) },
		"is not valid yet": func(c *x509.Certificate) { c.NotBefore = c.NotAfter.Add(-time.Hour) },
	} {
		certFile, keyFile := authority.Sign(t, change).Write(t, dir, "dated")
		if _, log := logged(t, pki.Config{CertFile: certFile, KeyFile: keyFile}); strings.Count(log.String(), want) != 1 {
			t.Errorf("the log lacks %q: %s", want, log)
		}
	}
}
