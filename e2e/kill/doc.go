// Package kill runs three server processes under load, kills, stops and
// restarts them, and checks that nothing acknowledged is lost.
//
// Every round has its own keys. Clients write unique values, read, and
// compare-and-swap, each pinned to one member, so that every member serves
// all kinds of requests. One watch, opened at the very first revision, sees
// every round. After a round:
//
//   - I1: each acknowledged write is in the watch, at the revision that the
//     server named, and nowhere else; each event belongs to a write that was
//     attempted; a transaction's writes share a revision.
//   - I2: the watch has every revision from the first to the last, once, in
//     order, over all reconnects.
//   - I3: revisions follow real time: a write that began after another had
//     been answered has a higher revision, and a linearizable read shows a
//     revision no lower than any write answered before it began.
//   - I4: the history of each key is linearizable, with revisions and also
//     when revisions are ignored.
//   - I5: what a final read finds is what the watch says, on every member.
//
// A write without an answer may have happened or not. The watch decides: if
// its value is there, it happened, at that revision and before the watch saw
// it; if not, no read may have seen it, and it is looked for in later rounds.
//
// The failover test measures how long writes pause when the leader is killed
// or stopped.
package kill
