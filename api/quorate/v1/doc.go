// Package quoratev1 is Quorate's own gRPC API, beside etcd's: what a cluster of many
// keyspaces needs and etcd has no words for. The .proto files say what each call and field
// means; `make proto` makes the rest of this package from them.
//
// Within v1 fields and methods are only added. Clients ignore what they do not know, and a
// server that lacks a method answers with the code UNIMPLEMENTED.
package quoratev1
