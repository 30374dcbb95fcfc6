package main

import (
	"fmt"
	"net"
	"strings"

	"github.com/quorate/quorate/internal/placement"
)

// keyspacePortsMax bounds the ports for one keyspace each: every one is a socket, and is in
// this member's entry of the member list.
const keyspacePortsMax = 256

// resolvePorts reads --listen, and returns its URLs.
func resolvePorts(s *settings, c *Config) (urls []string, err error) {
	entries := s.list(flagListen)
	if len(entries) > keyspacePortsMax {
		return nil, fmt.Errorf("%s has %d ports: use up to %d, and let clients choose by --%s beyond that",
			s.where(flagListen), len(entries), keyspacePortsMax, flagKeyspaceDomain)
	}
	for _, e := range entries {
		port, err := parsePort(e)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.where(flagListen), err)
		}
		if u, twice := sameAddress([]string{port.URL}, urls); twice {
			return nil, fmt.Errorf("%s has %s twice: give each keyspace a port of its own", s.where(flagListen), u)
		}
		urls = append(urls, port.URL)
		c.KeyspacePorts = append(c.KeyspacePorts, port)
	}
	return urls, nil
}

// parsePort reads NAME=URL. The error completes a sentence that begins with the flag's name.
func parsePort(entry string) (KeyspacePort, error) {
	name, raw, ok := strings.Cut(entry, "=")
	if !ok || name == "" {
		return KeyspacePort{}, fmt.Errorf("%q names no keyspace: write NAME=http://HOST:PORT", entry)
	}
	if name == placement.System {
		return KeyspacePort{}, fmt.Errorf("%q is the cluster's own keyspace, which serves no client: name another", name)
	}
	if err := placement.CheckName(name); err != nil {
		return KeyspacePort{}, err
	}
	u, err := parseURL(raw)
	if err != nil {
		return KeyspacePort{}, err
	}
	return KeyspacePort{name, u}, checkListen([]string{u})
}

// advertiseKeyspaceURLs is where clients are told to find the keyspaces' ports: at the address
// that each listens on, or, where that is every address of the machine, at the host that is
// advertised to clients of the node.
func (c *Config) advertiseKeyspaceURLs() map[string][]string {
	if len(c.KeyspacePorts) == 0 {
		return nil
	}
	host, _ := splitURL(c.AdvertiseClientURLs[0])
	urls := make(map[string][]string)
	for _, k := range c.KeyspacePorts {
		u := k.URL
		if isUnspecified(u) {
			_, port := splitURL(u)
			scheme, _, _ := strings.Cut(u, "://")
			u = scheme + "://" + net.JoinHostPort(host, port)
		}
		urls[k.Keyspace] = append(urls[k.Keyspace], u)
	}
	return urls
}
