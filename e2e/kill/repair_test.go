package kill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorate/quorate/e2e/cluster"
)

// repairLimit bounds how long a member may take to be repaired by its peers.
const repairLimit = 20 * time.Second

// Goal: a member whose log has rotted where it was durable comes back by itself, and votes
// again. Method: SIGKILL a follower, flip a bit in the middle of what it logged, start it,
// wait until it says that nothing is in doubt; then kill another member, so that nothing is
// decided without the repaired one, and read everything there. Only our Raft can be repaired;
// on another engine the member must refuse to start, and the others must go on.
func TestRepairOfDamagedLog(t *testing.T) {
	cluster.NeedsQuorate(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c := cluster.Start(t, cluster.Options{Binary: cluster.ServerUnderTest(t), Members: 3})
	leader, err := allReady(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	victim, other := c.Members[0], c.Members[1]
	if victim == leader {
		victim, other = c.Members[2], c.Members[1]
	}
	const puts = 60
	writer := cluster.Client(t, victim.ClientURL())
	for i := range puts {
		if _, err := writer.Put(ctx, fmt.Sprintf("key-%02d", i), marker(i)); err != nil {
			t.Fatal(err)
		}
	}
	victim.Kill()
	if err := flip(victim.DataDir, marker(puts/2)); err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	if cluster.Engine() != "raft" {
		if err := refusesToVote(ctx, victim); err != nil {
			t.Fatalf("%v\n%s", err, victim.Log())
		}
		if err := putWithin(ctx, cluster.Client(t, other.ClientURL()), 10*time.Second); err != nil {
			t.Fatalf("no put without the damaged member: %v", err)
		}
		return
	}
	if err := c.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	if err := waitRepaired(ctx, victim); err != nil {
		t.Fatalf("%v\n%s", err, victim.Log())
	}
	for _, line := range []string{"the log has lost what was durable", "the log is repaired"} {
		if !strings.Contains(victim.Log(), line) {
			t.Errorf("%s did not log %q", victim.Name, line)
		}
	}

	other.Kill()
	client := cluster.Client(t, victim.ClientURL())
	if err := putWithin(ctx, client, 10*time.Second); err != nil {
		t.Fatalf("no put with the repaired member: %v", err)
	}
	got, err := client.Get(ctx, "key-", clientv3.WithPrefix(), clientv3.WithSerializable())
	if err != nil {
		t.Fatal(err)
	}
	for i, kv := range got.Kvs {
		if string(kv.Value) != marker(i) {
			t.Errorf("%s is %q", kv.Key, kv.Value)
		}
	}
	if len(got.Kvs) != puts {
		t.Errorf("%d keys of %d", len(got.Kvs), puts)
	}
}

// refusesToVote waits for a member with a damaged log to end, with what to do as its last
// words.
func refusesToVote(ctx context.Context, m *cluster.Member) error {
	code, err := m.WaitExit(ctx)
	if err != nil {
		return err
	}
	log := m.Log()
	if code == 0 || !strings.Contains(log, "the log has lost what was durable") || !strings.Contains(log, "remove") {
		return fmt.Errorf("%s ended with code %d and does not say what to do about its damaged log", m.Name, code)
	}
	return nil
}

func marker(i int) string { return fmt.Sprintf("value number %02d, which stands in the log once", i) }

// flip changes a bit of a text where it stands in a member's log.
func flip(dir, text string) error {
	segments, err := filepath.Glob(filepath.Join(dir, "wal", "*.wal"))
	if err != nil {
		return err
	}
	for _, name := range segments {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		at := bytes.Index(data, []byte(text))
		if at < 0 {
			continue
		}
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		if _, err = f.WriteAt([]byte{data[at] ^ 1}, int64(at)); err == nil {
			err = f.Sync()
		}
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		return err
	}
	return fmt.Errorf("%q is in none of %v", text, segments)
}

// waitRepaired waits until no replica of a member is in doubt.
func waitRepaired(ctx context.Context, m *cluster.Member) error {
	ctx, cancel := context.WithTimeout(ctx, repairLimit)
	defer cancel()
	ticker := time.NewTicker(attemptEvery)
	defer ticker.Stop()
	for {
		doubts, err := doubtsOf(ctx, m)
		if err == nil && doubts == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not repaired, %d replicas in doubt: %w", m.Name, doubts, errors.Join(ctx.Err(), err))
		case <-ticker.C:
		}
	}
}

// doubtsOf counts the replicas that a member's metrics say are in doubt.
func doubtsOf(ctx context.Context, m *cluster.Member) (n int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, m.ClientURL()+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(response.Body); err != nil {
		return 0, err
	}
	found := false
	for line := range strings.Lines(text.String()) {
		if strings.HasPrefix(line, "quorate_shard_in_doubt{") {
			found = true
			if strings.HasSuffix(strings.TrimSpace(line), " 1") {
				n++
			}
		}
	}
	if !found {
		return 0, fmt.Errorf("%s has no metric quorate_shard_in_doubt", m.Name)
	}
	return n, nil
}

// putWithin repeats a put until it is acknowledged.
func putWithin(ctx context.Context, client *clientv3.Client, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		attempt, end := context.WithTimeout(ctx, limit/5)
		_, err := client.Put(attempt, "after", "repair")
		end()
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
}
