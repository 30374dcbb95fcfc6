package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	rpcstatus "google.golang.org/grpc/status"

	"github.com/quorate/quorate/internal/pki"
)

const (
	flagEndpoints = "endpoints"
	flagTimeout   = "timeout"
	// endpointsVariable is etcdctl's: who has set it for etcdctl has set it for us.
	endpointsVariable = "ETCDCTL_ENDPOINTS"

	// connectTimeout bounds the wait for one node's connection while there are others to
	// ask: a machine that is gone answers nothing at all.
	connectTimeout = 2 * time.Second
	// nameCompletionTimeout is how long a shell waits for names at a <TAB>.
	nameCompletionTimeout = time.Second
	// answerBytesMax bounds an answer; a list of a hundred thousand keyspaces fits.
	answerBytesMax = 64 << 20
)

// client is a command's way to a running cluster: whichever node answers first, in the order
// in which they were named.
type client struct {
	endpoints []string // URLs, at least one
	tls       *pki.Store
	timeout   time.Duration
	stderr    io.Writer // hears of the nodes that do not answer
	// reads says that the calls change nothing: who got no answer need not wonder.
	reads bool
}

// clientFlags are the flags by which commands find a cluster.
type clientFlags struct {
	endpoints, timeout *flagValue
	tls                map[string]*flagValue
}

func addClientFlags(cmd *cobra.Command) *clientFlags {
	f := &clientFlags{
		endpoints: addDevFlag(cmd.Flags(), &flagSpec{name: flagEndpoints, preset: "127.0.0.1:2379",
			note: "nodes to ask, separated by commas, one after the other until one answers; also $" + endpointsVariable}),
		timeout: addDevFlag(cmd.Flags(), &flagSpec{name: flagTimeout, kind: duration, preset: "10s", note: "how long to wait for the answer"}),
		tls:     make(map[string]*flagValue),
	}
	for _, spec := range clientTLSFlags {
		spec.note += "; also $" + etcdctlVariable(spec.name)
		f.tls[spec.name] = addDevFlag(cmd.Flags(), &spec)
		if spec.kind == boolean {
			cmd.Flags().Lookup(spec.name).NoOptDefVal = "true"
		}
	}
	return f
}

// client reads the flags. A flag wins over the variable.
func (f *clientFlags) client(p *process, cmd *cobra.Command) (*client, error) {
	c := &client{stderr: p.stderr}
	c.timeout, _ = time.ParseDuration(f.timeout.text) // checked when it was set
	if c.timeout <= 0 {
		return nil, usagef("--%s must be longer than 0s", flagTimeout)
	}
	origin, list := "--"+flagEndpoints, f.endpoints.text
	if fromVariable := p.getenv(endpointsVariable); fromVariable != "" && !cmd.Flags().Changed(flagEndpoints) {
		origin, list = endpointsVariable, fromVariable
	}
	store, secured, err := openClientTLS(func(flag string) string {
		if fromVariable := p.getenv(etcdctlVariable(flag)); fromVariable != "" && !cmd.Flags().Changed(flag) {
			return fromVariable
		}
		return f.tls[flag].text
	})
	if err != nil {
		return nil, usagef("%w", err)
	}
	c.tls = store
	scheme := "http://"
	if secured {
		scheme = "https://"
	}
	var raw []string
	for e := range strings.SplitSeq(list, ",") {
		if e = strings.TrimSpace(e); e == "" {
			continue
		}
		if !strings.Contains(e, "://") {
			e = scheme + e
		}
		raw = append(raw, e)
	}
	urls, err := parseURLs(raw)
	if err == nil && len(urls) == 0 {
		err = fmt.Errorf("names no node: write HOST:PORT, or several separated by commas")
	}
	if err != nil {
		return nil, usagef("%s: %w", origin, err)
	}
	c.endpoints = urls
	return c, nil
}

// clusterFlags are what all commands have that ask a running cluster.
type clusterFlags struct {
	*clientFlags
	output *flagValue
	reads  bool // see client
}

func addClusterFlags(cmd *cobra.Command) *clusterFlags {
	return &clusterFlags{clientFlags: addClientFlags(cmd), output: addOutputFlag(cmd)}
}

func (f *clusterFlags) json() bool { return f.output.text == formatJSON }

// A service makes a client of one of our services, as the functions New...Client of the API do.
type service[C any] func(grpc.ClientConnInterface) C

// A method is one of its calls, as a method expression of that client.
type method[C, Q, A any] func(client C, ctx context.Context, request Q, options ...grpc.CallOption) (A, error)

// askCluster makes a call for a command, until it is asked to stop.
func askCluster[C, Q, A any](p *process, cmd *cobra.Command, f *clusterFlags, s service[C], m method[C, Q, A], request Q) (answer A, err error) {
	c, err := f.client(p, cmd)
	if err != nil {
		return answer, err
	}
	c.reads = f.reads
	ctx, release := p.untilStopped(cmd.Context(), nil)
	defer release()
	return ask(ctx, c, s, m, request)
}

// ask makes a call of the first node that answers. A node that cannot be reached or has no
// leader is passed over. The error is a sentence for the user.
func ask[C, Q, A any](ctx context.Context, c *client, s service[C], m method[C, Q, A], request Q) (A, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	silent := "" // a node that may have done what it was asked, and did not say so
	for i, endpoint := range c.endpoints {
		last := i == len(c.endpoints)-1
		answer, reached, err := askOne(ctx, c.connectTimeout(last), endpoint, c.tls, s, m, request)
		endpoint = shortEndpoint(endpoint)
		if err == nil {
			return answer, nil
		}
		if last || rpcstatus.Code(err) != codes.Unavailable || ctx.Err() != nil {
			return answer, c.sentence(ctx, endpoint, reached, silent, err)
		}
		if reached && !c.reads {
			silent = endpoint
		}
		fmt.Fprintf(c.stderr, "quorate: %s: %s: asking %s\n", endpoint, reasonOf(err), shortEndpoint(c.endpoints[i+1]))
	}
	panic("client: no endpoints")
}

// askForNames is ask for a shell that completes a name: it is in a hurry, and says nothing.
func askForNames[C, Q, A any](p *process, cmd *cobra.Command, f *clusterFlags, s service[C], m method[C, Q, A], request Q) (answer A, err error) {
	c, err := f.client(p, cmd)
	if err != nil {
		return answer, err
	}
	c.timeout, c.stderr = min(c.timeout, nameCompletionTimeout), io.Discard
	return ask(cmd.Context(), c, s, m, request)
}

// connectTimeout leaves time for the nodes after this one.
func (c *client) connectTimeout(last bool) time.Duration {
	if last {
		return c.timeout
	}
	return min(connectTimeout, c.timeout/time.Duration(len(c.endpoints)))
}

// shortEndpoint is an endpoint as people write it.
func shortEndpoint(u string) string { return strings.TrimPrefix(u, "http://") }

// askOne makes a call of one node at a URL. It reports whether the call can have reached the node.
func askOne[C, Q, A any](ctx context.Context, connect time.Duration, u string, store *pki.Store, s service[C], m method[C, Q, A], request Q) (answer A, reached bool, err error) {
	security := insecure.NewCredentials()
	if isHTTPS(u) {
		host, _ := splitURL(u)
		security = credentials.NewTLS(store.Client(host))
	}
	conn, err := grpc.NewClient("passthrough:///"+address(u), grpc.WithTransportCredentials(security),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(answerBytesMax)))
	if err != nil {
		return answer, false, err
	}
	defer conn.Close()
	connecting, cancel := context.WithTimeout(ctx, connect)
	defer cancel()
	conn.Connect()
	for state := conn.GetState(); state != connectivity.Ready && state != connectivity.TransientFailure; state = conn.GetState() {
		if !conn.WaitForStateChange(connecting, state) {
			return answer, false, rpcstatus.Error(codes.Unavailable, "no connection within "+connect.String())
		}
	}
	reached = conn.GetState() == connectivity.Ready
	answer, err = m(s(conn), ctx, request) // fails at once if there is no connection, and says why
	return answer, reached, err
}

// sentence says what a call's error means, and what to do.
func (c *client) sentence(ctx context.Context, endpoint string, reached bool, silent string, err error) error {
	stopped := context.Cause(ctx)
	doubt, unknown := "", ""
	if !c.reads {
		unknown = "; what was asked may have been done all the same"
	}
	if silent != "" {
		doubt = fmt.Sprintf(" (%s was asked before, and may have done it)", silent)
	}
	switch code := rpcstatus.Code(err); {
	case stopped != nil && ctx.Err() == context.Canceled: // only a signal does that
		return fmt.Errorf("gave up: %w%s", stopped, unknown)
	case code == codes.DeadlineExceeded || stopped != nil:
		return fmt.Errorf("no answer from %s within %v: a longer --%s may help%s", endpoint, c.timeout, flagTimeout, unknown)
	case code == codes.Unavailable && !reached:
		return fmt.Errorf("no node answers at %s: %s: start one, or name others with --%s%s", endpoint, reasonOf(err), flagEndpoints, doubt)
	case code == codes.Unavailable:
		return fmt.Errorf("%s: %s: try again%s", endpoint, reasonOf(err), doubt)
	case code == codes.Unimplemented:
		return fmt.Errorf("%s cannot do this: it is an etcd, or an older Quorate", endpoint)
	}
	return fmt.Errorf("%s%s", reasonOf(err), doubt)
}

// reasonOf is what a status says, without gRPC's frame around the reason of a connection that
// failed.
func reasonOf(err error) string {
	text := rpcstatus.Convert(err).Message()
	if _, reason, ok := strings.Cut(text, `"transport: `); ok {
		text = strings.TrimPrefix(strings.TrimSuffix(reason, `"`), "Error while dialing: ")
	}
	return cmp.Or(text, rpcstatus.Code(err).String())
}
