// Package differential sends the same generated requests to etcd and to the
// server under test and compares every field of every answer.
//
// The reference is the definition: whatever etcd answers is right. A run is a
// function of one seed. The generator keeps a small model of the store (keys,
// revisions, leases, watches) so that requests hit interesting states, and a
// tenth of the requests or more must fail. Requests go over plain gRPC stubs,
// so that invalid ones reach the server.
//
// What the package promises:
//
//   - I1: every field of every response message is compared, found by
//     reflection over the message types; a field added to etcd's API is
//     compared without a change here. What is excused is one list,
//     notCompared, each entry with its reason.
//   - I2: the same seed yields the same requests. Identifiers that a server
//     invents are mapped one to one before they are used or compared.
//   - I3: a run fails if a kind of request, an option or an error text that
//     the list required names occurs less often than its floor, or if an
//     error text occurs that the list does not know.
//   - I4: watches are compared as sequences of events per watch, never by
//     message boundary; before anything that may cut a sequence short (a
//     cancel, a compaction, a restart) all streams are drained.
//
// Deliberately absent: concurrency. One request is in flight per server, so
// every answer is determined by the requests before it. Races, faults and
// clocks belong to the kill and simulator tests.
package differential
