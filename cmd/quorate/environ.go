package main

import (
	"slices"
	"strings"
)

// envPrefixes in order of precedence: ours wins over etcd's.
var envPrefixes = []string{"QUORATE_", "ETCD_"}

// environment is the part of the process's environment that concerns us: variables that
// begin with one of our prefixes and are not empty (an empty one counts as not set, as
// in etcd).
type environment map[string]string

func newEnvironment(environ []string) environment {
	e := make(environment)
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if value != "" && isOurVariable(name) {
			e[name] = value
		}
	}
	return e
}

func isOurVariable(name string) bool {
	return slices.ContainsFunc(envPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// withoutOurVariables returns environ without what could configure a node.
func withoutOurVariables(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return isOurVariable(name)
	})
}

// lookup returns the variable that sets a flag, and its value.
func (e environment) lookup(flag string) (variable, value string, ok bool) {
	suffix := strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
	for _, prefix := range envPrefixes {
		if value, ok = e[prefix+suffix]; ok {
			return prefix + suffix, value, true
		}
	}
	return "", "", false
}

// notFromEnvironment are flags that a variable cannot set: they are about one command
// line.
var notFromEnvironment = []string{flagVersion, flagSupervised}

// apply sets each flag that has a variable and was not given as a flag. It returns a
// warning for each variable that does not count.
func (e environment) apply(s *settings) (warnings []string, err error) {
	unused := make(map[string]bool)
	for name := range e {
		unused[name] = true
	}
	for _, flag := range s.table.names() {
		variable, value, ok := e.lookup(flag)
		if !ok || slices.Contains(notFromEnvironment, flag) {
			continue
		}
		delete(unused, variable)
		if s.given(flag) {
			warnings = append(warnings, variable+" is ignored: --"+flag+" was given")
			continue
		}
		if err := s.put(flag, value, variable); err != nil {
			return nil, err
		}
		if rest, overridden := strings.CutPrefix(variable, envPrefixes[0]); overridden && unused[envPrefixes[1]+rest] {
			delete(unused, envPrefixes[1]+rest)
			warnings = append(warnings, envPrefixes[1]+rest+" is ignored: "+variable+" is set")
		}
	}
	for name := range unused {
		warnings = append(warnings, name+" is ignored: no flag has this name")
	}
	slices.Sort(warnings)
	return warnings, nil
}
