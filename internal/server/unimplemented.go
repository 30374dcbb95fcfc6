package server

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// missing answers a method that this build does not have, with a sentence that names
// what is missing. The methods are written out one by one, so that a method which etcd
// adds to a service fails to compile here instead of answering with a bare code.
func missing(what string) error {
	return status.Error(codes.Unimplemented, "quorate: "+what+" is not implemented yet")
}

// authServer says that authentication is off, which is true, and refuses to change it.
// Clients that are configured with a user name accept that answer from etcd too.
type authServer struct {
	headers *headers
	pb.UnsafeAuthServer
}

var errNoAuth = missing("authentication")

// AuthEnable is refused: pretending to enable it would leave the data open.
func (*authServer) AuthEnable(context.Context, *pb.AuthEnableRequest) (*pb.AuthEnableResponse, error) {
	return nil, errNoAuth
}

// AuthDisable is not implemented yet.
func (*authServer) AuthDisable(context.Context, *pb.AuthDisableRequest) (*pb.AuthDisableResponse, error) {
	return nil, errNoAuth
}

// AuthStatus says that authentication is off; the revision is the one etcd begins with.
func (a *authServer) AuthStatus(ctx context.Context, _ *pb.AuthStatusRequest) (*pb.AuthStatusResponse, error) {
	k := keyspaceOf(ctx)
	return &pb.AuthStatusResponse{Header: a.headers.proto(k, revisionOf(k)), Enabled: false, AuthRevision: 1}, nil
}

// Authenticate has no users to check.
func (*authServer) Authenticate(context.Context, *pb.AuthenticateRequest) (*pb.AuthenticateResponse, error) {
	return nil, rpctypes.ErrGRPCAuthNotEnabled
}

// UserAdd is not implemented yet.
func (*authServer) UserAdd(context.Context, *pb.AuthUserAddRequest) (*pb.AuthUserAddResponse, error) {
	return nil, errNoAuth
}

// UserGet is not implemented yet.
func (*authServer) UserGet(context.Context, *pb.AuthUserGetRequest) (*pb.AuthUserGetResponse, error) {
	return nil, errNoAuth
}

// UserList is not implemented yet.
func (*authServer) UserList(context.Context, *pb.AuthUserListRequest) (*pb.AuthUserListResponse, error) {
	return nil, errNoAuth
}

// UserDelete is not implemented yet.
func (*authServer) UserDelete(context.Context, *pb.AuthUserDeleteRequest) (*pb.AuthUserDeleteResponse, error) {
	return nil, errNoAuth
}

// UserChangePassword is not implemented yet.
func (*authServer) UserChangePassword(context.Context, *pb.AuthUserChangePasswordRequest) (*pb.AuthUserChangePasswordResponse, error) {
	return nil, errNoAuth
}

// UserGrantRole is not implemented yet.
func (*authServer) UserGrantRole(context.Context, *pb.AuthUserGrantRoleRequest) (*pb.AuthUserGrantRoleResponse, error) {
	return nil, errNoAuth
}

// UserRevokeRole is not implemented yet.
func (*authServer) UserRevokeRole(context.Context, *pb.AuthUserRevokeRoleRequest) (*pb.AuthUserRevokeRoleResponse, error) {
	return nil, errNoAuth
}

// RoleAdd is not implemented yet.
func (*authServer) RoleAdd(context.Context, *pb.AuthRoleAddRequest) (*pb.AuthRoleAddResponse, error) {
	return nil, errNoAuth
}

// RoleGet is not implemented yet.
func (*authServer) RoleGet(context.Context, *pb.AuthRoleGetRequest) (*pb.AuthRoleGetResponse, error) {
	return nil, errNoAuth
}

// RoleList is not implemented yet.
func (*authServer) RoleList(context.Context, *pb.AuthRoleListRequest) (*pb.AuthRoleListResponse, error) {
	return nil, errNoAuth
}

// RoleDelete is not implemented yet.
func (*authServer) RoleDelete(context.Context, *pb.AuthRoleDeleteRequest) (*pb.AuthRoleDeleteResponse, error) {
	return nil, errNoAuth
}

// RoleGrantPermission is not implemented yet.
func (*authServer) RoleGrantPermission(context.Context, *pb.AuthRoleGrantPermissionRequest) (*pb.AuthRoleGrantPermissionResponse, error) {
	return nil, errNoAuth
}

// RoleRevokePermission is not implemented yet.
func (*authServer) RoleRevokePermission(context.Context, *pb.AuthRoleRevokePermissionRequest) (*pb.AuthRoleRevokePermissionResponse, error) {
	return nil, errNoAuth
}
