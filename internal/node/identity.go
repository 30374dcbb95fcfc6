package node

import (
	"crypto/sha1"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/quorate/quorate/internal/env"
	"github.com/quorate/quorate/internal/shard"
)

// memberVersion is the newest format of DIR/member, and of the directory as a whole. Format 1
// had one engine for all shards; format 2 knows founders only, who go on writing it.
const (
	memberVersion  = 3
	foundedVersion = 2
)

// identity is what DIR/member holds: who the node is for as long as its disk
// lives (N1).
type identity struct {
	Format      int            `json:"format"`
	Cluster     uint64         `json:"cluster"`
	Node        shard.NodeID   `json:"node"`
	Incarnation uint16         `json:"incarnation"`
	Disk        uint64         `json:"disk"` // random, made with the file
	Name        string         `json:"name"`
	Token       string         `json:"token"`
	Voters      []shard.NodeID `json:"voters"`  // the first members, ascending
	Members     []Member       `json:"members"` // as --initial-cluster had them

	// Joined: it came to a cluster that others had founded. System is then the incarnation
	// of its replica of the system keyspace.
	Joined bool   `json:"joined,omitempty"`
	System uint16 `json:"system,omitempty"`

	// Shards is how each shard that the cluster began with was founded.
	Shards map[shard.ID]shardRecord `json:"shards"`
}

// identityV1 is what format 1 had in place of Shards: every shard decides with a majority.
type identityV1 struct {
	Engine string `json:"engine"`
}

// Errors of a data directory. Each comes wrapped with the directory and what to do.
var (
	// ErrInUse: another process runs on the directory.
	ErrInUse = errors.New("data directory is in use by another process")
	// ErrForeign: the directory belongs to another member or cluster.
	ErrForeign = errors.New("data directory belongs to another member or cluster")
	// ErrFormat: the directory was written by a newer version.
	ErrFormat = errors.New("data directory has a newer format than this program")
	// ErrDamaged: the directory lacks what it must have.
	ErrDamaged = errors.New("data directory is damaged")
	// ErrEngine: the directory's shards run on another engine or write quorum than was
	// asked for, or on an engine that this program lacks.
	ErrEngine = errors.New("consensus engine does not fit")
	// ErrBootstrapped: the cluster knows this member, but its disk is empty.
	ErrBootstrapped = errors.New("has already been bootstrapped")
)

// nodeIDOf derives a member's id, as etcd does, from its peer URLs and the
// cluster's token, so that every member computes the same ids from the same
// initial cluster.
func nodeIDOf(peerURLs []string, token string) shard.NodeID {
	urls := slices.Clone(peerURLs)
	slices.Sort(urls)
	sum := sha1.Sum([]byte(strings.Join(urls, "") + token))
	id := shard.NodeID(binary.BigEndian.Uint64(sum[:8])) & shard.MaxNodeID
	return max(id, 1)
}

// clusterIDOf derives the cluster's id from its first members.
func clusterIDOf(members []shard.NodeID) uint64 {
	ids := slices.Clone(members)
	slices.Sort(ids)
	h := sha1.New()
	for _, id := range ids {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(id)))
	}
	return binary.BigEndian.Uint64(h.Sum(nil)[:8])
}

// dataDir is an open, locked data directory.
type dataDir struct {
	fs   env.FS
	path string
	wal  string
	lock io.Closer
}

// openDataDir creates the directory if it is missing and locks it.
func openDataDir(fs env.FS, path, walDir string) (*dataDir, error) {
	if err := fs.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("create data directory %s: %w", path, err)
	}
	d := &dataDir{fs: fs, path: path, wal: walDir}
	if d.wal == "" {
		d.wal = fs.PathJoin(path, "wal")
	}
	var err error
	if d.lock, err = fs.Lock(d.join("LOCK")); err != nil {
		return nil, fmt.Errorf("lock %s: %w (%w): stop the other process or choose another --data-dir", path, ErrInUse, err)
	}
	return d, nil
}

func (d *dataDir) join(name string) string { return d.fs.PathJoin(d.path, name) }

func (d *dataDir) close() error { return d.lock.Close() }

// identity reads DIR/member; nil without error means that the directory is new.
func (d *dataDir) identity() (*identity, error) {
	f, err := d.fs.Open(d.join("member"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, d.checkEmpty()
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", d.join("member"), err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", d.join("member"), err)
	}
	return parseIdentity(d.join("member"), text)
}

// Initialized reports whether a data directory belongs to a member. It writes
// nothing. It returns ErrDamaged or ErrFormat, wrapped, as Start would.
func Initialized(fs env.FS, path string) (bool, error) {
	d := dataDir{fs: fs, path: path, wal: fs.PathJoin(path, "wal")}
	id, err := d.identity()
	return id != nil, err
}

// checkEmpty keeps N1: state without a member file is somebody's lost identity.
func (d *dataDir) checkEmpty() error {
	for _, dir := range []string{d.wal, d.join("db")} {
		if names, err := d.fs.List(dir); err == nil && len(names) > 0 {
			return fmt.Errorf("%s: %w: %s has files but %s is missing: restore the directory from a backup or start this member with an empty one",
				d.path, ErrDamaged, dir, d.join("member"))
		}
	}
	return nil
}

// parseIdentity reads a member file: one line of JSON, then its CRC32C in hex.
func parseIdentity(name string, text []byte) (*identity, error) {
	body, sum, ok := strings.Cut(strings.TrimSuffix(string(text), "\n"), "\n")
	var id identity
	if err := json.Unmarshal([]byte(body), &id); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", name, ErrDamaged, err)
	}
	if id.Format > memberVersion {
		return nil, fmt.Errorf("%s: %w: format %d, this program knows up to %d: start a newer version", name, ErrFormat, id.Format, memberVersion)
	}
	if !ok || sum != checksum(body) {
		return nil, fmt.Errorf("%s: %w: checksum does not match", name, ErrDamaged)
	}
	if id.Format < 2 {
		if err := id.upgradeV1(body); err != nil {
			return nil, fmt.Errorf("%s: %w: %w", name, ErrDamaged, err)
		}
	}
	for _, s := range foundedShards {
		if id.Shards[s.id].Engine == "" {
			return nil, fmt.Errorf("%s: %w: it does not say which engine shard %d runs on", name, ErrDamaged, s.id)
		}
	}
	return &id, nil
}

// upgradeV1 reads what format 1 had. The file stays as it is: it is written once.
func (id *identity) upgradeV1(body string) error {
	var old identityV1
	if err := json.Unmarshal([]byte(body), &old); err != nil {
		return err
	}
	id.Shards = make(map[shard.ID]shardRecord)
	for _, s := range foundedShards {
		id.Shards[s.id] = shardRecord{Engine: old.Engine}
	}
	return nil
}

func checksum(body string) string {
	return fmt.Sprintf("%08x", crc32.Checksum([]byte(body), crc32.MakeTable(crc32.Castagnoli)))
}

// writeIdentity makes DIR/member durable, whole or not at all (N1).
func (d *dataDir) writeIdentity(id *identity) error {
	body, err := json.Marshal(id)
	if err != nil {
		return fmt.Errorf("encode member file: %w", err)
	}
	return d.writeChecked("member", string(body))
}

// logIdentity marks the node's log as its own.
func (id *identity) logIdentity() (b [16]byte) {
	binary.BigEndian.PutUint64(b[:8], id.Cluster)
	binary.BigEndian.PutUint64(b[8:], uint64(shard.ReplicaOf(id.Node, id.Incarnation)))
	return b
}

// starts is how often the node has come as far as an open log. From then on the
// log must be there.
func (d *dataDir) starts() (uint64, error) {
	text, err := d.readChecked(startsFile)
	if err != nil || text == "" {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %w", d.join(startsFile), ErrDamaged, err)
	}
	return n, nil
}

// countStart durably counts one more start and returns the new count: what one
// start numbers no other start numbers again, whatever the clock says.
func (d *dataDir) countStart(before uint64) (uint64, error) {
	return before + 1, d.writeChecked(startsFile, strconv.FormatUint(before+1, 10))
}

// startsFile holds a decimal number and its CRC32C.
const startsFile = "starts"

// readChecked reads a small file of one line and its CRC32C in hex; a missing
// file is an empty line.
func (d *dataDir) readChecked(name string) (string, error) {
	f, err := d.fs.Open(d.join(name))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read %s: %w", d.join(name), err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, smallFileBytes))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", d.join(name), err)
	}
	body, sum, ok := strings.Cut(strings.TrimSuffix(string(text), "\n"), "\n")
	if !ok || sum != checksum(body) {
		return "", fmt.Errorf("%s: %w: checksum does not match", d.join(name), ErrDamaged)
	}
	return body, nil
}

// writeChecked makes a small file durable, whole or not at all.
func (d *dataDir) writeChecked(name, body string) error {
	text := body + "\n" + checksum(body) + "\n"
	if err := writeFileAtomically(d.fs, d.path, name, []byte(text)); err != nil {
		return fmt.Errorf("write %s: %w", d.join(name), err)
	}
	return nil
}

// smallFileBytes bounds what is read of the directory's own small files.
const smallFileBytes = 1 << 20

// writeFileAtomically writes dir/name through a temporary file, a rename and a
// sync of the directory.
func writeFileAtomically(fs env.FS, dir, name string, data []byte) error {
	temp := fs.PathJoin(dir, name+".tmp")
	f, err := fs.Create(temp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fs.Rename(temp, fs.PathJoin(dir, name)); err != nil {
		return err
	}
	return syncDir(fs, dir)
}

func syncDir(fs env.FS, dir string) error {
	f, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
