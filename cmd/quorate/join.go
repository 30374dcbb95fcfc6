package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	rpcstatus "google.golang.org/grpc/status"

	"github.com/quorate/quorate/api/quorate/v1"
	"github.com/quorate/quorate/internal/pki"
	"github.com/quorate/quorate/internal/placement"
)

const (
	// joinPatience is how long a node asks to join before it gives up: a cluster that is being
	// started, too, has a leader by then.
	joinPatience = 30 * time.Second
	// joinPause is the time between two rounds of all nodes.
	joinPause = 500 * time.Millisecond
	// joinAnswerTimeout bounds the wait for one node's answer. To ask again does no harm.
	joinAnswerTimeout = 10 * time.Second
)

// joinCluster asks the nodes of c.Join, one after the other, to take this machine into their
// cluster; disk is the number that its disk has. It asks again while none of them can answer, for
// half a minute. store is TLS for https URLs. The ticket says who this node is. The error is a
// sentence for the user, or why ctx has ended.
func joinCluster(ctx context.Context, c *Config, store *pki.Store, disk uint64, log *slog.Logger) (*placement.Ticket, error) {
	return joinWithin(ctx, joinPatience, c, store, disk, log)
}

func joinWithin(ctx context.Context, patience time.Duration, c *Config, store *pki.Store, disk uint64, log *slog.Logger) (*placement.Ticket, error) {
	request := &quoratev1.JoinNodeRequest{
		Name: c.Name, PeerUrls: c.AdvertisePeerURLs, Zone: c.Zone, Weight: uint32(c.Weight), ClusterToken: c.Bootstrap.Token, Disk: disk,
	}
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for round := 1; ; round++ {
		var silence error
		for _, u := range c.Join {
			ticket, err := joinThrough(patient, u, store, request)
			if err == nil {
				log.Info("joined a cluster", "node", idText(ticket.Node), "through", u)
				return ticket, nil
			}
			if !passesOver(err) {
				return nil, joinRefusal(u, err)
			}
			if patient.Err() == nil || silence == nil { // the reason before time was up says more
				silence = fmt.Errorf("%s: %s", u, reasonOf(err))
			}
		}
		if round == 1 {
			log.Warn("no node of --join answers yet", "reason", silence.Error())
		}
		select {
		case <-patient.Done():
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			return nil, fmt.Errorf("no node of --%s could take this one in within %v (%w): start one of %s, or correct --%[1]s",
				flagJoin, patience, silence, strings.Join(c.Join, ", "))
		case <-time.After(joinPause):
		}
	}
}

// joinThrough asks one node. The error is a status, or says that the ticket cannot be read.
func joinThrough(ctx context.Context, u string, store *pki.Store, request *quoratev1.JoinNodeRequest) (*placement.Ticket, error) {
	ctx, cancel := context.WithTimeout(ctx, joinAnswerTimeout)
	defer cancel()
	r, _, err := askOne(ctx, connectTimeout, u, store, quoratev1.NewNodesClient, quoratev1.NodesClient.Join, request)
	if err != nil {
		return nil, err
	}
	ticket := new(placement.Ticket)
	if err := json.Unmarshal(r.GetTicket(), ticket); err != nil {
		return nil, rpcstatus.Errorf(codes.DataLoss, "its ticket cannot be read: %v", err)
	}
	if ticket.Node == 0 || ticket.Node != r.GetNode() {
		return nil, rpcstatus.Errorf(codes.DataLoss, "its ticket is not for node %x", r.GetNode())
	}
	return ticket, nil
}

// passesOver reports whether another node may answer, or the same one later.
func passesOver(err error) bool {
	switch rpcstatus.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Aborted:
		return true
	}
	return false
}

// joinRefusal is a sentence about an answer that another attempt does not change.
func joinRefusal(u string, err error) error {
	where := "--" + flagJoin + " " + u
	switch rpcstatus.Code(err) {
	case codes.Unimplemented:
		return fmt.Errorf("%s cannot take nodes in: it is an etcd, or an older Quorate", where)
	case codes.PermissionDenied:
		return fmt.Errorf("%s takes no nodes in: %s", where, reasonOf(err))
	case codes.DataLoss:
		return fmt.Errorf("%s: %s: start the version that it runs", where, reasonOf(err))
	}
	return fmt.Errorf("%s: %s", where, reasonOf(err)) // the node's sentence says what to do
}
