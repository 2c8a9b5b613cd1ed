package firstboot

import (
	"bytes"
	"errors"
	"io/fs"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

// What the step storage moves into the encrypted directories: the peers' share,
// /etc/rancher, and the k3s settings of node.yaml's own copy. What is needed before
// anything is unlocked stays where it was.

// layVault puts into the encrypted part what is secret outside k3s' own directories: the
// peers' share and the spare, and all of /etc/rancher, with those of node.yaml's files that
// belong there.
func (m *machine) layVault(k shares) error {
	if !k.spare.Empty() { // first: storageLaid takes peerShare as the sign that both are there
		if err := m.keep(spareShare, k.spare); err != nil {
			return err
		}
	}
	if err := m.keep(peerShare, k.peer); err != nil {
		return err
	}
	if err := m.bearOne(rancherPassword); err != nil {
		return err
	}
	if target, err := m.Files.Readlink(etcRancher); err != nil || target != rancherDir {
		if err := m.Files.Remove(etcRancher); err != nil { // it is empty: checkFresh has made sure
			return err
		}
		if err := m.Files.Symlink(rancherDir, etcRancher); err != nil {
			return err
		}
	}
	all, err := m.rancherFiles()
	if err != nil {
		return err
	}
	return m.ensure(all)
}

func (m *machine) keep(name string, share secret.String) error {
	text, err := yaml.Marshal(share)
	if err != nil {
		return err
	}
	return m.ensure([]file{{path: name, data: text, mode: 0o600}})
}

func (m *machine) rancherLaid() (bool, error) {
	if target, err := m.Files.Readlink(etcRancher); err != nil || target != rancherDir {
		return false, nil
	}
	if ok, err := m.isBorn(rancherPassword); err != nil || !ok {
		return false, err
	}
	all, err := m.rancherFiles()
	if err != nil {
		return false, err
	}
	return m.allMatch(all)
}

// rancherPassword is the node password at its place in the encrypted part.
var rancherPassword = birth{rancherDir + strings.TrimPrefix(nodePassword, etcRancher), 0o600, notEmpty, newNodePassword}

// rancherFiles are those of node.yaml's files that go into the encrypted part.
func (m *machine) rancherFiles() (inside []file, err error) {
	all, err := extraFiles(m.cfg)
	for _, f := range all {
		if strings.HasPrefix(f.path, etcRancher+"/") {
			inside = append(inside, f)
		}
	}
	return inside, err
}

// earlyFiles are those of node.yaml's files that are written before anything is unlocked.
func (m *machine) earlyFiles() ([]file, error) {
	all, err := extraFiles(m.cfg)
	if err != nil {
		return nil, err
	}
	later, err := m.encrypts()
	if err != nil || !later {
		return all, err
	}
	var early []file
	for _, f := range all {
		if !strings.HasPrefix(f.path, etcRancher+"/") {
			early = append(early, f)
		}
	}
	return early, nil
}

// earlyBirths returns what is generated before anything is unlocked.
func (m *machine) earlyBirths() ([]birth, error) {
	later, err := m.encrypts()
	if err != nil || !later {
		return births, err
	}
	var early []birth
	for _, b := range births {
		if b.path != nodePassword {
			early = append(early, b)
		}
	}
	return early, nil
}

// ownFiles are what the node keeps of node.yaml. k3s' settings may have passwords in them:
// an encrypted node keeps them apart, in the encrypted part. While that is locked, g has no
// such settings, and the file there stays as it is.
func (h *Host) ownFiles(g *given) ([]file, error) {
	apart, err := h.encrypted()
	if err != nil {
		return nil, err
	}
	kept, err := g.asCopy(apart)
	if err != nil || !apart {
		return []file{kept}, err
	}
	config := g.cfg.Keep().K3s.Config
	f := file{path: keptConfig, mode: 0o600, absent: len(config) == 0}
	if f.data, err = yaml.Marshal(config); err != nil {
		return nil, err
	}
	return []file{f, kept}, nil // f first: writing kept removes these settings from the own copy
}

// asCopy is the own copy, without k3s' settings if they are kept apart.
func (g *given) asCopy(apart bool) (file, error) {
	cfg := g.cfg.Keep()
	if apart {
		cfg.K3s.Config = nil
	}
	text, err := g.last.under(cfg)
	return file{path: copyFile, data: text, mode: 0o600}, err
}

// withConfig gives an own copy its k3s settings back, if they can be read.
func (h *Host) withConfig(cfg *node.Config) error {
	if cfg.K3s.Config != nil {
		return nil
	}
	text, err := h.read(keptConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return yaml.NewDecoder(bytes.NewReader(text)).Decode(&cfg.K3s.Config)
}
