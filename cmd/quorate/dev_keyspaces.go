package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	rpcstatus "google.golang.org/grpc/status"

	"github.com/quorate/quorate/api/quorate/v1"
	"github.com/quorate/quorate/internal/placement"
)

// devKeyspacesMax is how many keyspaces get a port of their own: those between two nodes'.
const devKeyspacesMax = devPortStep - 2

// devCreateTimeout bounds the wait for a keyspace.
const devCreateTimeout = 10 * time.Second

// devKeyspaces reads the names of keyspaces that dev is to make.
func devKeyspaces(list string) ([]string, error) {
	var names []string
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		err := placement.CheckName(name)
		switch {
		case err != nil:
			return nil, fmt.Errorf("--keyspaces: %w", err)
		case name == placement.System || name == placement.Default:
			return nil, fmt.Errorf("--keyspaces: every cluster has %q: leave it out", name)
		case slices.Contains(names, name):
			return nil, fmt.Errorf("--keyspaces names %q twice", name)
		}
		names = append(names, name)
	}
	if len(names) > devKeyspacesMax {
		return nil, fmt.Errorf("--keyspaces names %d, and there are ports for %d: create the others with 'quorate keyspace create'", len(names), devKeyspacesMax)
	}
	return names, nil
}

// keyspaceURL is where a node serves the i-th keyspace alone.
func (d *devCluster) keyspaceURL(node, i int) string {
	return fmt.Sprintf("http://%s:%d", devHost, d.port+devPortStep*node+2+i)
}

// listenFlags are what opens a node's ports for keyspaces.
func (d *devCluster) listenFlags(n *devNode) []string {
	node := slices.Index(d.nodes, n)
	var flags []string
	for i, name := range d.keyspaces {
		flags = append(flags, "--"+flagListen, name+"="+d.keyspaceURL(node, i))
	}
	return flags
}

// createKeyspaces makes those that are not there yet.
func (d *devCluster) createKeyspaces(ctx context.Context, p *process) error {
	var endpoints []string
	for _, n := range d.nodes {
		endpoints = append(endpoints, n.ClientURL)
	}
	c := &client{endpoints: endpoints, timeout: devCreateTimeout, stderr: p.stderr}
	var errs error
	for _, name := range d.keyspaces {
		_, err := ask(ctx, c, quoratev1.NewKeyspacesClient, createUnlessThere, &quoratev1.CreateRequest{Name: name})
		errs = errors.Join(errs, err)
	}
	return errs
}

// createUnlessThere is Create for which a keyspace that is there is no error.
func createUnlessThere(k quoratev1.KeyspacesClient, ctx context.Context, r *quoratev1.CreateRequest, options ...grpc.CallOption) (*quoratev1.CreateResponse, error) {
	made, err := k.Create(ctx, r, options...)
	if rpcstatus.Code(err) == codes.AlreadyExists {
		return made, nil
	}
	return made, err
}

// announceKeyspaces says where they are served.
func (d *devCluster) announceKeyspaces(b *strings.Builder) {
	for i, name := range d.keyspaces {
		var ports []string
		for node := range d.nodes {
			ports = append(ports, address(d.keyspaceURL(node, i)))
		}
		fmt.Fprintf(b, "\nkeyspace %s  ETCDCTL_ENDPOINTS=%s", name, strings.Join(ports, ","))
	}
	if len(d.keyspaces) > 0 {
		b.WriteString("\n")
	}
}
