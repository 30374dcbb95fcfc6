package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/internal/placement"
)

// CertificateURI is what the URI of a client's certificate begins with that binds the client
// to a keyspace; the keyspace's name follows, and nothing else.
const CertificateURI = certificateScheme + "://keyspace/"

// certificateScheme is ours: a URI of this scheme is meant for us, whatever else it says.
const certificateScheme = "quorate"

// KeyspaceOf is the keyspace that a certificate binds a client to, by its one URI of the
// scheme quorate; empty: it has none, and its holder chooses. The error is a sentence about a
// certificate that has several, or one that names no keyspace.
func KeyspaceOf(certificate *x509.Certificate) (string, error) {
	keyspace := ""
	for _, u := range certificate.URIs {
		if u.Scheme != certificateScheme {
			continue
		}
		if keyspace != "" {
			return "", fmt.Errorf("the certificate has several URIs %s:... : ask for one with a single %sNAME", certificateScheme, CertificateURI)
		}
		name, ok := strings.CutPrefix(u.String(), CertificateURI)
		if err := placement.CheckName(name); !ok || err != nil || name == placement.System {
			return "", fmt.Errorf("the URI %.128q of the certificate names no keyspace: ask for one with %sNAME", u.String(), CertificateURI)
		}
		keyspace = name
	}
	return keyspace, nil
}

// byCertificate is what binds a connection whose port is bound by port, if at all, once its
// client's certificate is known. A certificate that nobody has verified is none.
func byCertificate(port *binding, state tls.ConnectionState) *binding {
	if len(state.VerifiedChains) == 0 {
		return port
	}
	keyspace, err := KeyspaceOf(state.PeerCertificates[0])
	b := binding{certificate: keyspace}
	if port != nil {
		b.port = port.port
	}
	if err == nil && keyspace != "" && b.port != "" && keyspace != b.port {
		err = fmt.Errorf("this certificate is for keyspace %q alone, and this port for %q: use another port", keyspace, b.port)
	}
	switch {
	case err != nil:
		b.err = status.Error(codes.PermissionDenied, "quorate: "+err.Error())
	case keyspace == "":
		return port
	}
	return &b
}

// secure makes the TLS handshake of a connection that has one to make.
func (c *sniffed) secure() error {
	secured, ok := c.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	if err := secured.Handshake(); err != nil {
		c.explain(err)
		return err
	}
	if c.bind = byCertificate(c.bind, secured.ConnectionState()); c.bind != nil {
		c.port.hasBound.Store(true)
	}
	return nil
}

// plainHint answers HTTP without TLS, as net/http does.
const plainHint = "HTTP/1.0 400 Bad Request\r\n\r\nThis port speaks TLS: use https://.\n"

// explain tells whoever is at fault why there was no TLS: a browser that asked without it, or
// the operator.
func (c *sniffed) explain(err error) {
	var onWire *net.OpError
	if errors.Is(err, io.EOF) || errors.As(err, &onWire) && onWire.Op != "remote error" {
		return // it went, or said too little in its time; neither is worth a line in the log
	}
	c.port.untrusted.Add(1)
	var record tls.RecordHeaderError
	if errors.As(err, &record) && record.Conn != nil && isHTTP(record.RecordHeader) {
		record.Conn.Write([]byte(plainHint))
		return
	}
	c.port.logHandshake(c.Conn.RemoteAddr(), err)
}

// isHTTP reports whether the first bytes of a connection are those of a request.
func isHTTP(b [5]byte) bool {
	switch string(b[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", preface[:5]:
		return true
	}
	return false
}
