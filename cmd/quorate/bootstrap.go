package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/quorate/quorate/internal/node"
	"github.com/quorate/quorate/internal/placement"
)

// parseCluster reads NAME=URL,NAME=URL. A name with several URLs is one member, as in
// etcd. The error completes a sentence that begins with the flag's name.
func parseCluster(entries []string) ([]Member, error) {
	var members []Member
	for _, e := range entries {
		name, raw, ok := strings.Cut(e, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("%q has no name: write NAME=http://HOST:PORT", e)
		}
		u, err := parseURL(raw)
		if err == nil {
			err = checkPeer([]string{u})
		}
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(members, func(m Member) bool { return m.Name == name })
		if i < 0 {
			members = append(members, Member{Name: name, PeerURLs: []string{u}})
			continue
		}
		members[i].PeerURLs = append(members[i].PeerURLs, u)
	}
	slices.SortFunc(members, func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
	return members, nil
}

// checkBootstrap reports why this node cannot found or join the cluster it was given. It
// counts only for a node without state: members that were added, removed or moved later
// make --initial-cluster untrue, and it is then not read.
func checkBootstrap(c *Config) error {
	if len(c.Join) > 0 {
		return nil // the others say who is in the cluster
	}
	if err := checkClusterURLs(c.Bootstrap.Cluster); err != nil {
		return err
	}
	i := slices.IndexFunc(c.Bootstrap.Cluster, func(m Member) bool { return m.Name == c.Name })
	if i < 0 {
		return fmt.Errorf("--initial-cluster lists %s but not this member: correct --name %q or add %s=%s to the list",
			memberNames(c.Bootstrap.Cluster), c.Name, c.Name, c.AdvertisePeerURLs[0])
	}
	if err := checkOwnURLs(c, c.Bootstrap.Cluster[i]); err != nil {
		return err
	}
	if c.Bootstrap.Existing && len(c.Bootstrap.Cluster) == 1 {
		return fmt.Errorf("--initial-cluster-state existing joins a running cluster, but --initial-cluster lists only this member: add the others, or use new")
	}
	return node.CheckWriteQuorum(c.WriteQuorum, placement.OwnReplicas(len(c.Bootstrap.Cluster)), cmp.Or(c.Engine, defaultEngine()), engines())
}

// checkClusterURLs reports a URL that is there twice.
func checkClusterURLs(members []Member) error {
	owner := make(map[string]string)
	for _, m := range members {
		for _, u := range m.PeerURLs {
			before, taken := owner[address(u)]
			switch {
			case taken && before == m.Name:
				return fmt.Errorf("--initial-cluster lists %s=%s twice: keep one", m.Name, u)
			case taken:
				return fmt.Errorf("--initial-cluster gives %s to both %s and %s: each member needs a URL of its own", u, before, m.Name)
			}
			owner[address(u)] = m.Name
		}
	}
	return nil
}

// checkOwnURLs holds this member's entry against what it advertises. A difference often
// means that two members were given one name.
func checkOwnURLs(c *Config, listed Member) error {
	for _, u := range listed.PeerURLs {
		if _, ok := sameAddress([]string{u}, c.AdvertisePeerURLs); ok {
			continue
		}
		if len(listed.PeerURLs) > 1 {
			return fmt.Errorf("--initial-cluster gives %s the URLs %s, but --initial-advertise-peer-urls has only %s: give each member a name of its own, or advertise all of them",
				c.Name, strings.Join(listed.PeerURLs, " and "), strings.Join(c.AdvertisePeerURLs, ","))
		}
		return fmt.Errorf("--initial-cluster says %s=%s, but --initial-advertise-peer-urls is %s: make them equal",
			c.Name, u, strings.Join(c.AdvertisePeerURLs, ","))
	}
	for _, u := range c.AdvertisePeerURLs {
		if _, ok := sameAddress([]string{u}, listed.PeerURLs); !ok {
			return fmt.Errorf("--initial-advertise-peer-urls has %s, which --initial-cluster lacks: add %s=%s to it", u, c.Name, u)
		}
	}
	return nil
}

func memberNames(members []Member) string {
	names := make([]string, len(members))
	for i, m := range members {
		names[i] = m.Name
	}
	return strings.Join(names, ", ")
}
