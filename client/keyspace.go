package client

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

const (
	// keyspaceMetadata is the metadata by which a call chooses its keyspace.
	keyspaceMetadata = "quorate-keyspace"
	// etcdPrefix begins the names of the methods that work in a keyspace.
	etcdPrefix = "/etcdserverpb."
	// nameBytesMax is the longest name of a keyspace.
	nameBytesMax = 63
)

// InKeyspace returns the dial options that send etcd's calls of a connection to a keyspace;
// the empty name is DefaultKeyspace. It is for those who build a clientv3.Client, or a
// connection, themselves: calls go to the nodes as they would without it. A name that no
// keyspace can have is answered by the nodes, with NotFound.
func InKeyspace(name string) []grpc.DialOption {
	name = orDefault(name)
	return []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			return invoke(withKeyspace(ctx, method, name), method, req, reply, cc, opts...)
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			return open(withKeyspace(ctx, method, name), desc, cc, method, opts...)
		}),
	}
}

// withKeyspace names the keyspace in a call of etcd's, in place of another one (L1).
func withKeyspace(ctx context.Context, method, name string) context.Context {
	if !strings.HasPrefix(method, etcdPrefix) {
		return ctx
	}
	md, ok := metadata.FromOutgoingContext(ctx) // a copy
	if !ok {
		md = metadata.MD{}
	}
	md.Set(keyspaceMetadata, name)
	return metadata.NewOutgoingContext(ctx, md)
}

func orDefault(name string) string { return cmp.Or(name, DefaultKeyspace) }

// checkName refuses what no keyspace can be called.
func checkName(name string) error {
	odd := strings.ContainsFunc(name, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-'
	})
	if odd || len(name) > nameBytesMax || strings.HasPrefix(name, "-") || strings.HasSuffix(name, "-") {
		return fmt.Errorf("%.80q is no name of a keyspace: it has 1 to %d of the letters a to z, digits and dashes, and no dash at the ends", name, nameBytesMax)
	}
	return nil
}
