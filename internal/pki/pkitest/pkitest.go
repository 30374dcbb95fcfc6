// Package pkitest makes certificates for tests.
package pkitest

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate/internal/env"
)

// serial numbers certificates and is the seed of their keys: nothing that a test makes needs to
// be kept secret.
var serial atomic.Int64

// Authority signs certificates.
type Authority struct {
	// PEM is its own certificate.
	PEM  []byte
	Pool *x509.CertPool
	cert *x509.Certificate
	key  ed25519.PrivateKey
}

// Pair is a certificate and its key in PEM.
type Pair struct{ Cert, Key []byte }

// NewAuthority makes an authority.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{Pool: x509.NewCertPool()}
	template, key := newTemplate("authority")
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign
	der := sign(t, template, template, key, key)
	a.cert, a.key, a.PEM = parse(t, der), key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	a.Pool.AddCert(a.cert)
	return a
}

// Sign makes a certificate of 127.0.0.1, localhost and db1.example, for servers and for
// clients, that names these URIs. change, if not nil, changes it before.
func (a *Authority) Sign(t testing.TB, change func(*x509.Certificate), uris ...string) Pair {
	t.Helper()
	template, key := newTemplate("test")
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	template.DNSNames = []string{"localhost", "db1.example"}
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	for _, raw := range uris {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = append(template.URIs, u)
	}
	if change != nil {
		change(template)
	}
	der := sign(t, template, a.cert, key, a.key)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	}
}

// Client is TLS for a client that trusts the authority and shows the pair, if it has one.
func (a *Authority) Client(t testing.TB, pair Pair) *tls.Config {
	t.Helper()
	c := &tls.Config{RootCAs: a.Pool, MinVersion: tls.VersionTLS12}
	if pair.Cert != nil {
		own, err := tls.X509KeyPair(pair.Cert, pair.Key)
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{own}
	}
	return c
}

// Write writes the pair as NAME.crt and NAME.key.
func (p Pair) Write(t testing.TB, dir, name string) (certFile, keyFile string) {
	t.Helper()
	return Write(t, dir, name+".crt", p.Cert), Write(t, dir, name+".key", p.Key)
}

// Write writes a file and returns its path.
func Write(t testing.TB, dir, name string, raw []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	file, err := env.OSFS().Create(path, "")
	if err == nil {
		_, err = file.Write(raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func newTemplate(name string) (*x509.Certificate, ed25519.PrivateKey) {
	n := serial.Add(1)
	seed := make([]byte, ed25519.SeedSize)
	big.NewInt(n).FillBytes(seed)
	year := env.SystemClock().Now().Year()
	return &x509.Certificate{
		SerialNumber: big.NewInt(n), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Date(year-1, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(year+2, 1, 1, 0, 0, 0, 0, time.UTC),
	}, ed25519.NewKeyFromSeed(seed)
}

func sign(t testing.TB, template, parent *x509.Certificate, key, by ed25519.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(nil, template, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func parse(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
