package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/quorate/quorate/internal/env"
	"github.com/quorate/quorate/internal/pki"
	"github.com/quorate/quorate/internal/server"
)

// listen opens the sockets for clients, all or none, before anything is written. The node
// opens those for its peers itself. store is TLS for https URLs.
func listen(ctx context.Context, network env.Network, c *Config, store *pki.Store) (*listeners, error) {
	l := &listeners{tls: store}
	for _, part := range []struct {
		flag      string
		urls      []string
		protocols []string // inside of TLS
		into      *[]net.Listener
	}{
		{"--listen-client-urls", c.ListenClientURLs, server.Protocols, &l.client},
		{"--listen-metrics-urls", c.ListenHTTPURLs, server.Protocols[:1], &l.http},
	} {
		for _, u := range part.urls {
			one, err := network.Listen(ctx, address(u))
			if err != nil {
				l.close()
				return nil, listenError(part.flag, u, err)
			}
			*part.into = append(*part.into, secure(one, u, store, part.protocols...))
		}
	}
	for _, k := range c.KeyspacePorts {
		one, err := network.Listen(ctx, address(k.URL))
		if err != nil {
			l.close()
			return nil, listenError("--"+flagListen, k.URL, err)
		}
		l.keyspaces = append(l.keyspaces, keyspaceListener{secure(one, k.URL, store, server.Protocols...), k.Keyspace})
	}
	return l, nil
}

func listenError(flag, u string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s %s: the port is in use: stop the other process or choose another port", flag, u)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s %s: this machine has no such address: write one of its own, or 0.0.0.0 for all", flag, u)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s %s: this user may not open the port: choose one above 1023", flag, u)
	}
	return fmt.Errorf("%s %s cannot be opened: %w", flag, u, err)
}

func (l *listeners) close() {
	for _, one := range l.client {
		one.Close()
	}
	for _, one := range l.http {
		one.Close()
	}
	for _, one := range l.keyspaces {
		one.Close()
	}
}
