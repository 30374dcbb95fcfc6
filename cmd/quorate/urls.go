package main

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// parseURLs reads the URLs of one flag and writes them in one form. The error completes
// a sentence that begins with the flag's name.
func parseURLs(raw []string) ([]string, error) {
	var out []string
	for _, r := range raw {
		u, err := parseURL(r)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(out, u) {
			out = append(out, u)
		}
	}
	return out, nil
}

// parseURL reads http://host:port or https://host:port.
func parseURL(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", fmt.Errorf("%q is not a URL: write http://HOST:PORT", raw)
	}
	switch u.Scheme {
	case "http", "https":
	case "unix", "unixs":
		return "", fmt.Errorf("%q is a Unix socket, which Quorate does not serve: use http://HOST:PORT", raw)
	default:
		return "", fmt.Errorf("%q is not a URL: write http://HOST:PORT", raw)
	}
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		return "", fmt.Errorf("%q has no port: write http://HOST:PORT", raw)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("%q has no port between 1 and 65535", raw)
	}
	if u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", fmt.Errorf("%q has more than a host and a port: write http://HOST:PORT", raw)
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(host), port), nil
}

// splitURL takes a parsed URL apart again.
func splitURL(u string) (host, port string) {
	_, authority, _ := strings.Cut(u, "://")
	host, port, err := net.SplitHostPort(authority)
	if err != nil {
		panic("splitURL: not one of ours: " + u)
	}
	return host, port
}

// address returns what a URL's listener or dialler needs: host:port. localhost becomes
// the loopback address, where etcd listens for it too.
func address(u string) string {
	host, port := splitURL(u)
	if host == "localhost" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// checkListen reports a URL that cannot be listened on: a name may resolve to an address
// of another machine, or to several.
func checkListen(urls []string) error {
	for _, u := range urls {
		host, _ := splitURL(u)
		if host != "localhost" && net.ParseIP(host) == nil {
			return fmt.Errorf("%s names a host to listen on: write an IP address of this machine, or 0.0.0.0 for all", u)
		}
	}
	return nil
}

// checkPeer reports a URL of a member's peers that is not served.
func checkPeer(urls []string) error {
	for _, u := range urls {
		if isHTTPS(u) {
			return fmt.Errorf("%q is refused because %s: use http:// if you can do without", u, needsPeerTLS)
		}
	}
	return nil
}

func checkPeerListen(urls []string) error { return cmp.Or(checkPeer(urls), checkListen(urls)) }

func checkPeerAdvertise(urls []string) error { return cmp.Or(checkPeer(urls), checkAdvertise(urls)) }

// checkAdvertise reports a URL that nobody can dial.
func checkAdvertise(urls []string) error {
	for _, u := range urls {
		if host, _ := splitURL(u); host == "" {
			return fmt.Errorf("%s names no host: write the one under which others reach this machine", u)
		}
	}
	return nil
}

// isUnspecified reports a URL like http://0.0.0.0:1, which reaches this machine only.
func isUnspecified(u string) bool {
	host, _ := splitURL(u)
	ip := net.ParseIP(host)
	return ip != nil && ip.IsUnspecified()
}

// sameAddress returns the first of a whose address is also in b.
func sameAddress(a, b []string) (string, bool) {
	for _, u := range a {
		if slices.ContainsFunc(b, func(v string) bool { return address(u) == address(v) }) {
			return u, true
		}
	}
	return "", false
}
