package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/quorate/quorate/internal/env"
)

// configFileBytesMax bounds the configuration file: a real one has a few kilobytes, and
// a wrong path may name anything.
const configFileBytesMax = 1 << 20

// sections maps the keys inside etcd's nested sections to flags.
var sections = map[string]map[string]string{
	"client-transport-security": {
		"cert-file":                    "cert-file",
		"key-file":                     "key-file",
		"client-cert-file":             "client-cert-file",
		"client-key-file":              "client-key-file",
		"client-cert-auth":             "client-cert-auth",
		"trusted-ca-file":              "trusted-ca-file",
		"auto-tls":                     "auto-tls",
		"allowed-cn":                   "client-cert-allowed-hostname", // etcd has no such flag; refused like its sister
		"allowed-hostname":             "client-cert-allowed-hostname",
		"skip-client-san-verification": "peer-skip-client-san-verification",
	},
	"peer-transport-security": {
		"cert-file":                    "peer-cert-file",
		"key-file":                     "peer-key-file",
		"client-cert-file":             "peer-client-cert-file",
		"client-key-file":              "peer-client-key-file",
		"client-cert-auth":             "peer-client-cert-auth",
		"trusted-ca-file":              "peer-trusted-ca-file",
		"auto-tls":                     "peer-auto-tls",
		"allowed-cn":                   "peer-cert-allowed-cn",
		"allowed-hostname":             "peer-cert-allowed-hostname",
		"skip-client-san-verification": "peer-skip-client-san-verification",
	},
	"socket-options": {
		"reuse-port":    "socket-reuse-port",
		"reuse-address": "socket-reuse-address",
	},
	"discovery-config": {
		"token": "discovery-token", "endpoints": "discovery-endpoints",
		"dial-timeout": "discovery-dial-timeout", "request-timeout": "discovery-request-timeout",
		"keepalive-time": "discovery-keepalive-time", "keepalive-timeout": "discovery-keepalive-timeout",
		"insecure-transport": "discovery-insecure-transport", "insecure-skip-tls-verify": "discovery-insecure-skip-tls-verify",
		"cert": "discovery-cert", "key": "discovery-key", "cacert": "discovery-cacert",
		"user": "discovery-user", "password": "discovery-password",
	},
}

// retiredKeys are in etcd's sample file although etcd 3.7 knows them no more: they belong
// to its v2 proxy.
var retiredKeys = []string{
	"proxy", "proxy-failure-wait", "proxy-refresh-interval", "proxy-dial-timeout",
	"proxy-write-timeout", "proxy-read-timeout",
}

// notInFile are flags that are about one command line.
var notInFile = []string{flagConfigFile, flagVersion, flagSupervised}

// configFile reads one file into settings.
type configFile struct {
	path     string
	settings *settings
	warnings []string
}

// readConfigFile loads a file with etcd's keys. An unknown key is an error: a misspelt
// one would otherwise be a default that nobody asked for.
func readConfigFile(fs env.FS, path string, s *settings) (warnings []string, err error) {
	raw, err := readBounded(fs, path)
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("--config-file %s is not YAML: %s", path, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	f := &configFile{path: path, settings: s}
	if len(doc.Content) == 0 {
		return nil, nil // an empty file asks for nothing
	}
	if doc.Content[0].Kind != yaml.MappingNode {
		return nil, fmt.Errorf("--config-file %s must hold 'key: value' lines", path)
	}
	err = f.mapping(doc.Content[0], f.topKey)
	return f.warnings, err
}

func readBounded(fs env.FS, path string) ([]byte, error) {
	file, err := fs.Open(path)
	if err != nil {
		return nil, fmt.Errorf("--config-file %s cannot be read: %w", path, reason(err))
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, configFileBytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("--config-file %s cannot be read: %w", path, reason(err))
	}
	if len(raw) > configFileBytesMax {
		return nil, fmt.Errorf("--config-file %s is larger than 1 MiB: is it the right file?", path)
	}
	return raw, nil
}

// mapping hands each key of a section to set, once.
func (f *configFile) mapping(n *yaml.Node, set func(key string, at, value *yaml.Node) error) error {
	seen := make(map[string]bool)
	for i := 0; i+1 < len(n.Content); i += 2 {
		at, value := n.Content[i], n.Content[i+1]
		if at.Kind != yaml.ScalarNode {
			return f.errorf(at, "a key must be a word")
		}
		if seen[at.Value] {
			return f.errorf(at, "%s is there twice: keep one", at.Value)
		}
		seen[at.Value] = true
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		if err := set(at.Value, at, value); err != nil {
			return err
		}
	}
	return nil
}

func (f *configFile) topKey(key string, at, value *yaml.Node) error {
	if keys, ok := sections[key]; ok {
		return f.section(key, keys, value)
	}
	if slices.Contains(retiredKeys, key) {
		f.warnings = append(f.warnings, f.origin(at)+": "+key+" has no effect: it belongs to etcd's old proxy")
		return nil
	}
	if _, ok := f.settings.table[key]; !ok || slices.Contains(notInFile, key) {
		return f.unknownKey(at, key, f.settings.table.names())
	}
	return f.value(key, at, value)
}

func (f *configFile) section(name string, keys map[string]string, n *yaml.Node) error {
	if isNull(n) {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		return f.errorf(n, "%s must hold keys of its own", name)
	}
	return f.mapping(n, func(key string, at, value *yaml.Node) error {
		flag, ok := keys[key]
		if !ok {
			names := make([]string, 0, len(keys))
			for k := range keys {
				names = append(names, k)
			}
			slices.Sort(names)
			return f.unknownKey(at, name+"."+key, names)
		}
		return f.value(flag, at, value)
	})
}

// value sets one flag. A key without a value asks for nothing.
func (f *configFile) value(flag string, at, n *yaml.Node) error {
	if isNull(n) {
		return nil
	}
	text, err := f.scalar(flag, n)
	if err != nil {
		return err
	}
	return f.settings.put(flag, text, f.origin(at))
}

func (f *configFile) scalar(flag string, n *yaml.Node) (string, error) {
	switch n.Kind {
	case yaml.SequenceNode:
		parts := make([]string, 0, len(n.Content))
		for _, e := range n.Content {
			if e.Kind != yaml.ScalarNode {
				return "", f.errorf(e, "%s must be a list of plain values", flag)
			}
			parts = append(parts, e.Value)
		}
		return strings.Join(parts, ","), nil
	case yaml.ScalarNode:
		if f.settings.table[flag].kind == duration && n.Tag == "!!int" {
			return n.Value + "ns", nil // etcd's files count nanoseconds
		}
		return n.Value, nil
	}
	return "", f.errorf(n, "%s must be a plain value", flag)
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func (f *configFile) unknownKey(at *yaml.Node, key string, known []string) error {
	known = slices.DeleteFunc(slices.Clone(known), func(k string) bool { return slices.Contains(notInFile, k) })
	if near, ok := nearest(at.Value, known); ok {
		return f.errorf(at, "unknown key %q: did you mean %q?", key, near)
	}
	return f.errorf(at, "unknown key %q: 'quorate help etcd-flags' lists the known ones", key)
}

func (f *configFile) origin(at *yaml.Node) string {
	return fmt.Sprintf("%s line %d", filepath.Base(f.path), at.Line)
}

func (f *configFile) errorf(at *yaml.Node, format string, args ...any) error {
	return errors.New(f.origin(at) + ": " + fmt.Sprintf(format, args...))
}
