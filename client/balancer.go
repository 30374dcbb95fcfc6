package client

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/endpointsharding"
	"google.golang.org/grpc/balancer/pickfirst"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
)

// policyName names our load balancing policy in gRPC's registry, which is the process's.
const policyName = "quorate_wanted"

// serviceConfig chooses it.
const serviceConfig = `{"loadBalancingConfig":[{"` + policyName + `":{}}]}`

func init() { balancer.Register(policyBuilder{}) }

// errNotConnected ends a probe of an endpoint that is down.
var errNotConnected = status.Error(codes.Unavailable, "quorate: the endpoint is not connected")

// want is what a call wants of the policy, and what it got. It travels in the call's context.
type want struct {
	prefer string                   // the address of the endpoint to take if it is connected; "" any
	avoid  map[string]bool          // addresses to take only if no other is connected
	must   string                   // the only address to take; "" any
	took   atomic.Pointer[endpoint] // what the call was last sent to; nil: to nothing yet
}

type wantKey struct{}

func withWant(ctx context.Context, w *want) context.Context {
	return context.WithValue(ctx, wantKey{}, w)
}

// policyBuilder implements balancer.Builder.
type policyBuilder struct{}

func (policyBuilder) Name() string { return policyName }

// Build makes what gRPC's round_robin makes, with another picker around its own.
func (policyBuilder) Build(cc balancer.ClientConn, opts balancer.BuildOptions) balancer.Balancer {
	return policy{endpointsharding.NewBalancer(pickerSetter{cc}, opts, balancer.Get(pickfirst.Name).Build, endpointsharding.Options{})}
}

type policy struct{ balancer.Balancer }

func (p policy) UpdateClientConnState(s balancer.ClientConnState) error {
	return p.Balancer.UpdateClientConnState(balancer.ClientConnState{
		ResolverState: pickfirst.EnableHealthListener(s.ResolverState), // as round_robin does
	})
}

// pickerSetter is gRPC's connection as the balancer below sees it.
type pickerSetter struct{ balancer.ClientConn }

func (s pickerSetter) UpdateState(state balancer.State) {
	state.Picker = newPicker(state.Picker)
	s.ClientConn.UpdateState(state)
}

// picker chooses the endpoint of each call. It never changes; there is a new one whenever an
// endpoint's connection comes or goes.
type picker struct {
	balancer.Picker // takes turns between the connected endpoints, or says why there are none
	endpoints       []endpoint
	next            atomic.Uint32
}

// endpoint is one endpoint at the time of its picker.
type endpoint struct {
	address string
	state   connectivity.State
	picker  balancer.Picker
	all     *[]string // the addresses of all endpoints
}

func newPicker(turns balancer.Picker) *picker {
	p := &picker{Picker: turns}
	all := new([]string)
	for _, child := range endpointsharding.ChildStatesFromPicker(turns) {
		address := child.Endpoint.Addresses[0].Addr // etcd's resolver gives each endpoint one
		*all = append(*all, address)
		p.endpoints = append(p.endpoints, endpoint{address, child.State.ConnectivityState, child.State.Picker, all})
	}
	slices.Sort(*all)
	p.next.Store(rand.Uint32())
	return p
}

// Pick implements balancer.Picker.
func (p *picker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	w, ok := info.Ctx.Value(wantKey{}).(*want)
	if !ok {
		return p.Picker.Pick(info)
	}
	e, err := p.choose(w)
	if err != nil {
		return balancer.PickResult{}, err
	}
	if e == nil { // nothing is connected
		return p.Picker.Pick(info)
	}
	w.took.Store(e)
	return e.picker.Pick(info)
}

// choose is the endpoint for a call; nil if none is connected. The error
// balancer.ErrNoSubConnAvailable lets the call wait for the next picker.
func (p *picker) choose(w *want) (*endpoint, error) {
	if w.must != "" {
		return p.only(w.must)
	}
	if e := p.at(w.prefer); e != nil && e.state == connectivity.Ready {
		return e, nil
	}
	var second *endpoint
	turn := int(p.next.Add(1) % (1 << 16)) // small enough to be added to
	for i := range p.endpoints {
		e := &p.endpoints[(turn+i)%len(p.endpoints)]
		switch {
		case e.state != connectivity.Ready:
		case !w.avoid[e.address]:
			return e, nil
		case second == nil:
			second = e
		}
	}
	return second, nil
}

// only is the endpoint of an address. A probe waits for it to connect, and not for it to come
// back.
func (p *picker) only(address string) (*endpoint, error) {
	e := p.at(address)
	switch {
	case e == nil || e.state == connectivity.TransientFailure:
		return nil, errNotConnected
	case e.state != connectivity.Ready:
		return nil, balancer.ErrNoSubConnAvailable
	}
	return e, nil
}

// at is the endpoint of an address, or nil.
func (p *picker) at(address string) *endpoint {
	for i := range p.endpoints {
		if p.endpoints[i].address == address {
			return &p.endpoints[i]
		}
	}
	return nil
}
