package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/transport"
)

// Terms are how a node's shards were founded, as its handshake tells it. Engines have
// vocabularies of their own in the same message kinds, and electing quorums need not meet
// the deciding quorums of another size: members that differ must not exchange a message.
//
//	size    field
//	1       version: 1
//	uv      number of shards, then for each, ascending:
//	uv        shard
//	uv, n     engine
//	uv        write quorum; 0: a majority
const termsVersion = 1

// engineBeforeTerms is what every shard of a build runs on that has no terms.
const engineBeforeTerms = "raft"

var errTerms = errors.New("malformed terms")

func appendTerms(dst []byte, shards map[shard.ID]shardRecord) []byte {
	dst = append(dst, termsVersion)
	dst = binary.AppendUvarint(dst, uint64(len(shards)))
	for _, id := range slices.Sorted(maps.Keys(shards)) {
		r := shards[id]
		dst = binary.AppendUvarint(dst, uint64(id))
		dst = binary.AppendUvarint(dst, uint64(len(r.Engine)))
		dst = append(dst, r.Engine...)
		dst = binary.AppendUvarint(dst, uint64(r.WriteQuorum))
	}
	return dst
}

// decodeTerms reads what appendTerms wrote, or nothing at all: an earlier build.
func decodeTerms(terms string) (map[shard.ID]shardRecord, error) {
	shards := make(map[shard.ID]shardRecord)
	if terms == "" {
		for _, s := range foundedShards {
			shards[s.id] = shardRecord{Engine: engineBeforeTerms}
		}
		return shards, nil
	}
	if terms[0] != termsVersion {
		return nil, fmt.Errorf("%w: version %d, this program knows %d", errTerms, terms[0], termsVersion)
	}
	rest := []byte(terms[1:])
	number := func() uint64 {
		v, n := binary.Uvarint(rest)
		if n <= 0 {
			rest = nil
			return 0
		}
		rest = rest[n:]
		return v
	}
	for count := number(); count > 0; count-- {
		id, length := shard.ID(number()), number()
		if id == 0 || length == 0 || length >= uint64(len(rest)) { // a write quorum follows
			return nil, fmt.Errorf("%w: %d bytes", errTerms, len(terms))
		}
		r := shardRecord{Engine: string(rest[:length])}
		rest = rest[length:]
		r.WriteQuorum = int(uint32(number()))
		shards[id] = r
	}
	if len(rest) != 0 || len(shards) == 0 {
		return nil, fmt.Errorf("%w: %d bytes", errTerms, len(terms))
	}
	return shards, nil
}

// agree implements transport.Config.Agree. Both ends read its sentence, so it names both.
func (n *Node) agree(other transport.Identity) error {
	theirs, err := decodeTerms(other.Terms)
	if err != nil {
		return fmt.Errorf("member %q does not say in a known way how its shards were founded: %w: start all members with one version", other.Name, err)
	}
	for _, s := range slices.Backward(foundedShards) { // what clients use comes first
		a, b := n.identity.Shards[s.id], theirs[s.id]
		if a == b {
			continue
		}
		err := fmt.Errorf("the %s keyspace has %v at member %q and %v at member %q: correct --engine or --write-quorum, they must be the same on all members; who was started with wrong ones needs an empty --data-dir",
			s.keyspace, a, n.identity.Name, quoted(b), other.Name)
		select {
		case n.disagreed <- err:
		default:
		}
		return err
	}
	return nil
}

// quoted keeps what another node calls its engine fit for one line of a log.
func quoted(r shardRecord) shardRecord {
	if len(r.Engine) > engineNameBytesMax {
		r.Engine = r.Engine[:engineNameBytesMax]
	}
	for i := range len(r.Engine) {
		if c := r.Engine[i]; c < ' ' || c > '~' {
			r.Engine = fmt.Sprintf("%q", r.Engine)
			break
		}
	}
	return r
}

// engineNameBytesMax bounds what is shown of a name that another node sent.
const engineNameBytesMax = 64
