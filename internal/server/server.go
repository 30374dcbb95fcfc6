package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"github.com/quorate/quorate/api/quorate/v1"
	"github.com/quorate/quorate/internal/env"
)

// Server is the client side of a node: everything that speaks to clients.
type Server struct {
	node    Node
	config  Config
	clock   env.Clock
	log     *slog.Logger
	metrics *metrics
	headers *headers
	streams *streams
	forward *forwarder
	grpc    *grpc.Server
	health  *health.Server
	http    *http.Server

	// background ends the goroutines that belong to the server and to no call.
	background context.Context
	cancel     context.CancelFunc
	running    sync.WaitGroup
	hasBound   atomic.Bool // a connection was bound, or may be by its port

	mu struct {
		sync.Mutex
		stopped bool
		ports   []*port
	}
}

// New builds a server that does not serve yet. reg receives all metrics; the caller may
// register its own there and serves none of it itself.
func New(node Node, config Config, clock env.Clock, reg *prometheus.Registry, log *slog.Logger) *Server {
	config = config.withDefaults()
	s := &Server{node: node, config: config, clock: clock, log: log}
	s.headers = &headers{node: node}
	s.streams = newStreams(config.StreamsMax)
	s.forward = newForwarder(node, &s.config, reg, log)
	s.background, s.cancel = context.WithCancel(context.Background())
	s.metrics = newMetrics(reg, node, s.openPorts, config.Build)
	s.grpc = grpc.NewServer(s.grpcOptions()...)
	s.register()
	s.metrics.rpc.register(s.grpc)
	s.http = s.newHTTP(reg)
	s.running.Go(func() { s.streams.watchLeaders(s.background, config.ElectionTimeout) })
	return s
}

// register installs the services. Health and reflection come last, so that both see
// the others.
func (s *Server) register() {
	s.grpc.RegisterService(s.routed(s.kvService(), false), s)
	s.grpc.RegisterService(s.routed(s.watchService(), false), s)
	s.grpc.RegisterService(s.routed(s.leaseService(), false), s)
	s.grpc.RegisterService(s.routed(&pb.Cluster_ServiceDesc, true), &clusterServer{node: s.node, headers: s.headers, boundTo: s.boundTo})
	s.grpc.RegisterService(s.routed(&pb.Maintenance_ServiceDesc, false), &maintenanceServer{
		node: s.node, headers: s.headers, election: s.config.ElectionTimeout,
	})
	s.grpc.RegisterService(s.routed(&pb.Auth_ServiceDesc, false), &authServer{headers: s.headers})
	keyspaces := &keyspacesServer{node: s.node}
	quoratev1.RegisterKeyspacesServer(s.grpc, keyspaces)
	quoratev1.RegisterNodesServer(s.grpc, &nodesServer{node: s.node})
	quoratev1.RegisterPlacementServer(s.grpc, &placementServer{node: s.node, keyspaces: keyspaces})
	s.health = health.NewServer()
	for name := range s.grpc.GetServiceInfo() {
		s.health.SetServingStatus(name, grpc_health_v1.HealthCheckResponse_SERVING)
	}
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
}

func (s *Server) newHTTP(reg *prometheus.Registry) *http.Server {
	handler := &endpoints{
		probe:   s.probeOf(DefaultKeyspace),
		probeOf: s.probeOf,
		timeout: s.config.CheckTimeout,
		log:     s.log,
		metrics: s.metrics,
		scrape:  promhttp.HandlerFor(reg, promhttp.HandlerOpts{Registry: reg, MaxRequestsInFlight: scrapesMax}),
		next:    s.config.HTTP,
		banner:  "quorate/" + s.config.Build.Version,
	}
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: s.config.Connections.Handshake,
		IdleTimeout:       httpIdle,
		MaxHeaderBytes:    headerBytesMax,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// Serve serves gRPC and HTTP/1.1 on one listener until Stop, and returns nil then. It
// may be called for several listeners. One that accepts *tls.Conn, as tls.NewListener's does,
// is served in TLS: the handshake is made here, and a client's certificate that was verified
// may bind its connection to a keyspace (KeyspaceOf).
func (s *Server) Serve(l net.Listener) error { return s.servePort(s.newPort(l)) }

func (s *Server) newPort(l net.Listener) *port {
	p := newPort(l, s.config.Connections, s.clock, s.log)
	p.hasBound = &s.hasBound
	return p
}

func (s *Server) servePort(p *port) error {
	if !s.addPort(p) {
		p.close()
		return nil
	}
	var servers sync.WaitGroup
	// Both return when their half of the port is closed; that error says nothing.
	servers.Go(func() { s.grpc.Serve(p.grpc) })
	servers.Go(func() { s.http.Serve(p.http) })
	err := p.serve()
	p.close()
	servers.Wait()
	return err
}

// ServeHTTP1 serves the HTTP endpoints alone, for a separate metrics listener.
func (s *Server) ServeHTTP1(l net.Listener) error {
	err := s.http.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (s *Server) addPort(p *port) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.stopped {
		return false
	}
	s.mu.ports = append(s.mu.ports, p)
	return true
}

func (s *Server) openPorts() []*port {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.ports[:len(s.mu.ports):len(s.mu.ports)]
}

// Drain makes the gRPC health service answer NOT_SERVING, so that load balancers stop
// sending; calls are still served.
func (s *Server) Drain() { s.health.Shutdown() }

// Stop ends the server: no new connections, streams are ended with "server stopped" so
// that clients take them to another member, unary calls may finish until ctx is done.
// When it returns, no handler runs any more.
func (s *Server) Stop(ctx context.Context) {
	s.Drain()
	s.mu.Lock()
	s.mu.stopped = true
	ports := s.mu.ports
	s.mu.Unlock()
	for _, p := range ports {
		p.close()
	}
	s.streams.stop()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		s.grpc.GracefulStop()
	}()
	if err := s.http.Shutdown(ctx); err != nil {
		s.http.Close()
	}
	select {
	case <-drained:
	case <-ctx.Done():
		s.grpc.Stop() // makes GracefulStop return too
		<-drained
	}
	s.forward.close()
	s.cancel()
	s.running.Wait()
}

// httpIdle is how long an idle HTTP/1.1 connection is kept.
const httpIdle = 2 * time.Minute

// headerBytesMax bounds a request's header, HTTP/1.1 and HTTP/2 alike. Tokens of
// several kilobytes fit.
const headerBytesMax = 16 << 10

// scrapesMax bounds concurrent scrapes of /metrics, which are expensive to answer.
const scrapesMax = 4
