package server

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/internal/mvcc"
	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/router"
	"github.com/quorate/quorate/internal/store"
)

// Errors below us that are not for clients, each with the reason.
var notForClients = map[string]string{
	"store.ErrLeaseExpireVoid":  "result of a command that only leaders propose",
	"store.ErrUnknownKind":      "stops the replica",
	"store.ErrMalformed":        "stops the replica",
	"store.ErrGap":              "stops the replica",
	"store.ErrCorrupt":          "stops the replica",
	"store.ErrVersion":          "stops the replica",
	"mvcc.ErrEmptyWatchRange":   "a reason in a watch response, not a status",
	"mvcc.ErrWatchClosed":       "the stream closes its watchers itself",
	"mvcc.ErrCorrupt":           "Unknown with its text: the read failed, and no client can help it",
	"mvcc.ErrVersion":           "Unknown with its text",
	"router.ErrMalformed":       "between routers",
	"router.ErrUnknownKeyspace": "the gate asks Node.Keyspace first",
}

// Every error that the packages below export is in the table or in the list above.
func TestErrorTableIsComplete(t *testing.T) {
	known := map[string]error{
		"store.ErrCompacted": store.ErrCompacted, "store.ErrFutureRevision": store.ErrFutureRevision,
		"store.ErrNoSpace": store.ErrNoSpace, "store.ErrKeyNotFound": store.ErrKeyNotFound,
		"store.ErrLeaseNotFound": store.ErrLeaseNotFound, "store.ErrLeaseExists": store.ErrLeaseExists,
		"store.ErrLeaseTTLTooLarge": store.ErrLeaseTTLTooLarge, "store.ErrEmptyKey": store.ErrEmptyKey, "store.ErrTooManyLeases": store.ErrTooManyLeases,
		"store.ErrValueProvided": store.ErrValueProvided, "store.ErrLeaseProvided": store.ErrLeaseProvided,
		"store.ErrTooManyOps": store.ErrTooManyOps, "store.ErrDuplicateKey": store.ErrDuplicateKey,
		"store.ErrInvalidSortOption": store.ErrInvalidSortOption,
		"mvcc.ErrCompacted":          mvcc.ErrCompacted, "mvcc.ErrFutureRevision": mvcc.ErrFutureRevision,
		"mvcc.ErrReplaced": mvcc.ErrReplaced, "router.ErrTimeout": router.ErrTimeout,
		"router.ErrTimeoutLeaderFail": router.ErrTimeoutLeaderFail, "router.ErrNoLeader": router.ErrNoLeader,
		"router.ErrUnknownOutcome": router.ErrUnknownOutcome, "router.ErrTooManyRequests": router.ErrTooManyRequests,
		"router.ErrNoSpace": router.ErrNoSpace, "router.ErrRequestTooLarge": router.ErrRequestTooLarge,
		"router.ErrStopped": router.ErrStopped,
	}
	for _, pkg := range []string{"store", "mvcc", "router"} {
		for _, name := range exportedErrors(t, filepath.Join("..", pkg)) {
			full := pkg + "." + name
			err, listed := known[full]
			_, excused := notForClients[full]
			switch {
			case listed == excused:
				t.Errorf("%s is in both lists or in none: map it in errorTable, or say why clients do not see it", full)
			case listed && errorTable[err] == nil:
				t.Errorf("%s is not in errorTable", full)
			}
		}
	}
	for _, name := range exportedErrors(t, filepath.Join("..", "placement")) {
		if !slices.ContainsFunc(catalogCodes, func(c catalogCode) bool { return catalogErrors[name] == c.err }) {
			t.Errorf("placement.%s is not in catalogCodes", name)
		}
	}
	for err, to := range errorTable {
		if s, ok := status.FromError(to); !ok || s.Code() == codes.OK || s.Code() == codes.Unknown {
			t.Errorf("%v maps to %v", err, to)
		}
	}
}

// catalogErrors are those of package placement by name.
var catalogErrors = map[string]error{
	"ErrInvalid": placement.ErrInvalid, "ErrExists": placement.ErrExists, "ErrNotFound": placement.ErrNotFound,
	"ErrDeleted": placement.ErrDeleted, "ErrNoRoom": placement.ErrNoRoom, "ErrFormat": placement.ErrFormat,
	"ErrConflict": placement.ErrConflict, "ErrMember": placement.ErrMember, "ErrMemberExists": placement.ErrMemberExists,
	"ErrMemberNotFound": placement.ErrMemberNotFound, "ErrForeignCluster": placement.ErrForeignCluster, "ErrUnsafe": placement.ErrUnsafe,
}

// exportedErrors reads a package's source for variables named Err...
func exportedErrors(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, f.Name()), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			g, ok := decl.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, spec := range g.Specs {
				for _, name := range spec.(*ast.ValueSpec).Names {
					if strings.HasPrefix(name.Name, "Err") {
						names = append(names, name.Name)
					}
				}
			}
		}
	}
	if len(names) == 0 {
		t.Errorf("no errors found in %s", dir)
	}
	return names
}

// Wherever an error of ours has a text of etcd's, the status has the same.
func TestErrorTextsAgree(t *testing.T) {
	for err, to := range errorTable {
		text := status.Convert(to).Message()
		if strings.HasPrefix(err.Error(), "etcdserver: ") && err.Error() != text {
			t.Errorf("%q is sent as %q", err, text)
		}
	}
}

func TestToStatus(t *testing.T) {
	for _, test := range []struct{ err, want error }{
		{nil, nil},
		{store.ErrCompacted, rpctypes.ErrGRPCCompacted},
		{fmt.Errorf("read shard 2: %w", mvcc.ErrCompacted), rpctypes.ErrGRPCCompacted},
		{fmt.Errorf("outer: %w", fmt.Errorf("inner: %w", router.ErrStopped)), rpctypes.ErrGRPCStopped},
		{context.Canceled, context.Canceled},
		{rpctypes.ErrGRPCNotLeader, rpctypes.ErrGRPCNotLeader},
	} {
		if got := toStatus(test.err); got != test.want {
			t.Errorf("toStatus(%v) = %v, want %v", test.err, got, test.want)
		}
	}
	if got := toStatus(errors.New("odd")); status.Code(got) != codes.Unknown || status.Convert(got).Message() != "odd" {
		t.Errorf("unknown error: %v", got)
	}
}
