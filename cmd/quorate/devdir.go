package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/quorate/quorate/internal/node"
	"github.com/quorate/quorate/internal/placement"
)

// devFile in a dev folder says what made it: members keep their addresses for ever, so
// other ports or another number of nodes do not fit the data.
const devFile = "dev.json"

type devLayout struct {
	Nodes  int    `json:"nodes"`
	Port   int    `json:"port"`
	Engine string `json:"engine"`
	// WriteQuorum is missing where a majority decides.
	WriteQuorum int `json:"write_quorum,omitempty"`
	// Zones is missing where there are none.
	Zones int `json:"zones,omitempty"`
}

// String is the command line that fits the layout.
func (l devLayout) String() string {
	s := fmt.Sprintf("--nodes %d --port %d --engine %s", l.Nodes, l.Port, l.Engine)
	if l.WriteQuorum != 0 {
		s += fmt.Sprintf(" --%s %d", flagWriteQuorum, l.WriteQuorum)
	}
	if l.Zones != 0 {
		s += fmt.Sprintf(" --%s %d", flagZones, l.Zones)
	}
	return s
}

// prepareDir makes the data folder, or checks that it fits.
func (d *devCluster) prepareDir() error {
	if d.dataDir == "" {
		dir, err := os.MkdirTemp("", "quorate-dev-")
		if err != nil {
			return fmt.Errorf("dev cannot make a temporary folder: %w: name one with --data-dir", reason(err))
		}
		d.dataDir, d.temporary = dir, true
		d.nodePaths()
		return d.chooseEngine()
	}
	dir, err := filepath.Abs(d.dataDir)
	if err != nil {
		return fmt.Errorf("--data-dir %s: %w", d.dataDir, err)
	}
	d.dataDir = dir
	d.nodePaths()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("--data-dir %s cannot be made: %w", dir, reason(err))
	}
	return d.claimDir()
}

// claimDir writes the layout into a new folder, and compares it in an old one.
func (d *devCluster) claimDir() error {
	path := filepath.Join(d.dataDir, devFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		entries, err := os.ReadDir(d.dataDir)
		if err != nil {
			return fmt.Errorf("--data-dir %s cannot be read: %w", d.dataDir, reason(err))
		}
		if len(entries) > 0 {
			return fmt.Errorf("--data-dir %s has files that dev did not make: choose another folder", d.dataDir)
		}
		if err := d.chooseEngine(); err != nil {
			return err
		}
		raw, err := json.Marshal(d.layout())
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, append(raw, '\n'), 0o600); err != nil {
			return fmt.Errorf("--data-dir %s cannot be written: %w", d.dataDir, reason(err))
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("--data-dir %s cannot be read: %w", d.dataDir, reason(err))
	}
	var have devLayout
	if err := json.Unmarshal(raw, &have); err != nil {
		return fmt.Errorf("%s is damaged: choose another --data-dir, or remove this one if its data may go", path)
	}
	if d.engine == "" { // left out: as it was
		d.engine = have.Engine
	}
	if d.writeQuorum == 0 {
		d.writeQuorum = have.WriteQuorum
	}
	if d.zones == 0 {
		d.zones = have.Zones
	}
	if have != d.layout() {
		return fmt.Errorf("--data-dir %s was made with %v: use the same, or another folder", d.dataDir, have)
	}
	return nil
}

func (d *devCluster) layout() devLayout {
	return devLayout{Nodes: len(d.nodes), Port: d.port, Engine: d.engine, WriteQuorum: d.writeQuorum, Zones: d.zones}
}

// chooseEngine says what a new cluster runs on, before anything is written.
func (d *devCluster) chooseEngine() error {
	d.engine = cmp.Or(d.engine, defaultEngine())
	return node.CheckWriteQuorum(d.writeQuorum, placement.OwnReplicas(len(d.nodes)), d.engine, engines())
}
