// Package ring says which nodes should carry the replicas of many shards, and how to get
// there from where they are. It is consistent hashing with weights, failure domains and
// bounded loads, and it can be used without the rest of Quorate.
//
// A Ring lays the nodes on a circle of 2^64 positions: each has tokens, 128 for every unit
// of its weight. A key's position has an Owner, the node of the next token, and an order of
// Candidates. A Placement says where every shard is. It is sticky, replicated state of whoever uses
// this package, and not a function of the ring: Plan compares the two and proposes moves, as few as
// its policy allows. Explain tells why a node has a replica.
//
//	ring.go       nodes, tokens, owners, candidates
//	hash.go       where tokens and keys are
//	placement.go  shards, moves and their reasons
//	policy.go     fair shares and caps
//	plan.go       what a plan does, in its order; board.go is the state that it does it to
//	detour.go     making room where all is full
//	leaders.go    who leads
//	explain.go    why
//
// # Invariants
//
//	R1  No Add goes to a node that has as many replicas as its cap: ReplicaLoad percent of
//	    its fair share (R3), rounded up. Caps are kept by class: all shards that want as
//	    many replicas. One exception: in an exchange (R5) a node has one more from an Add to
//	    the Remove that follows.
//	R2  Answers are a function of the arguments, the same on every node and in every
//	    version: shares are fractions of whole numbers, never floating point, and golden
//	    files hold tokens, owners, candidates and plans. The candidates of a key are in an order in which
//	    each next one is in the least crowded zone that has another node, there in the least
//	    crowded further domain, and of those nodes the next on the circle. The first R are in
//	    R zones, if there are as many.
//	R3  A zone has at most M replicas of a shard, M being the least number with which all
//	    have a place: 1 if there are R zones. A fair share knows that. Of S shards, a zone can
//	    take S·min(M, its nodes) replicas and a node S. What would be more by weight is
//	    shared out to the others by weight. Caps and zones therefore never contradict each other (below).
//	    Further domains are a preference: they order candidates, and nothing moves for them.
//	R4  No node leads more shards of a class than its cap, LeaderLoad percent of a fair share of the
//	    leaders, which is the share of replicas divided by R. The preferred leader is a
//	    shard's first replica.
//	R5  A replica moves only if its node is gone, has weight 0 or more than its cap, if its
//	    zone is crowded, or to make room for one that moves for these reasons and that nobody
//	    else can take (a detour). A plan without limits ends in a placement that keeps R1, R3 and
//	    R4; the next plan is empty. Plans with limits get there step by step.
//	R6  A replica is added before the one that it replaces is removed, and another one
//	    leads before the leader is removed. After any prefix of a plan a shard has as many replicas
//	    as it had or wants. If a plan is given up, the next one takes surplus replicas away.
//	R7  A plan makes D + B + X Adds at most, besides detours: for D missing replicas, B
//	    above M in a zone, X above a node's cap. Nobody makes fewer than D + max(B, X).
//
// # Why caps and zones do not contradict each other
//
// Give each shard to each node by the node's share divided by S. That is at most 1 for a node and
// M for a zone, and R altogether: a placement in fractions, in which no node has more than
// its share. Shards, their zones and the nodes are a flow network whose limits are whole
// numbers once shares are rounded up, so there is a placement in whole replicas, too. Whenever some replica has no
// place, the network has an augmenting path: a sequence of replicas that each move to the
// place of the next, the last to a node with room. That is the detour, and a search in breadth finds the
// shortest. If the only room is the place that a replica in a crowded zone leaves, the detour ends
// there: an exchange.
//
// Leaders: if a shard gives a 1/R part of its lead to each of its replicas, a node leads a
// R-th of what it carries, which is at most its cap of replicas divided by R. Hence
// LeaderLoad must not be below ReplicaLoad; then the same argument, with leads that pass along
// replicas, shows that every node gets below its cap. It holds for shards with equal R only: a
// node could carry single replicas alone, up to its cap, and would lead them all. That is why caps are
// kept by class. The price is rounding up once for each class.
//
// # Why few replicas move
//
// Lower bound: of a shard that has no surplus each removed replica must be added elsewhere. B
// replicas must leave their zones and X their nodes, and one may count for both.
//
// Upper bound: Add goes to nodes below their cap and to zones below M, so no step makes B
// or X larger, and each Add that is no detour makes D, B or X smaller by one.
//
// Without detours, and with B = 0 or X = 0, a plan is therefore as short as can be. There are
// no detours if
//
//   - M = 1 and there are exactly R zones, in a placement without crowded zones, when a node joins or
//     leaves one that keeps others, or changes weight. A shard without a replica in a zone leaves room there:
//     the zone's caps sum up to S at least, and S−1 shards are in it at most;
//   - or M = 1 and no R−1 zones have 1 − 1/c of the shares together, c being ReplicaLoad / 100: a
//     fifth by default. If all nodes in the other zones were full, they had c times their share,
//     more than c·(1 − (1 − 1/c)) = 1 of the whole.
//
// For one node of a placement that keeps all rules, with M unchanged:
//
//   - it leaves: nobody's share gets smaller, so B = X = 0, and exactly the replicas that
//     it had are added. Nobody could do with fewer;
//   - it joins with a share f: D = B = 0, and X < c·f + n, as n caps fall by c times what shares
//     lose, which is f together, and by less than 1 each for rounding. No policy that keeps the same
//     caps moves fewer, and often fewer than f move: nodes within their caps keep what they have;
//   - its weight changes so that its share grows by f: as if it joined. If its share shrinks, what it has
//     above its new cap moves.
//
// # What is deliberately absent
//
// Clocks, goroutines, I/O and chance. Knowing who is alive: whoever calls decides which
// nodes are on the ring, and when. Sizes and rates of shards: each counts as one. Moving
// anything.
package ring
