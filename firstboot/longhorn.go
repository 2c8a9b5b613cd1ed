package firstboot

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/disks"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// longhorn: a disk that node.yaml gives to Longhorn is mounted where Longhorn
// keeps its volumes, and this node's Node says so. This step does not keep the
// node from joining. Until the disk is mounted, nobody can write into its mount
// point.

const (
	longhornDir  = "/var/lib/longhorn"
	longhornFile = stateDir + "/longhorn-disk" // the disk's ID, and what node.yaml said
)

// holdPlace is part of the step identity, as it must come before k3s, which
// starts volumes. If there are volumes already, nothing is held; the step
// longhorn says what to do.
func (m *machine) holdPlace() error {
	want, err := m.holdWanted()
	if err != nil || want == nil {
		return err
	}
	return m.Disks.Hold(longhornDir, *want)
}

func (m *machine) placeHeld() (bool, error) {
	want, err := m.holdWanted()
	return want == nil, err
}

// holdWanted is nil if nothing is to be changed.
func (m *machine) holdWanted() (*bool, error) {
	on, err := m.Disks.Mounted(longhornDir)
	if err != nil || on != nil {
		return nil, err
	}
	held, err := m.Disks.Held(longhornDir)
	if err != nil {
		return nil, err
	}
	inside, err := m.Files.List(longhornDir)
	want := m.cfg.Longhorn.Disk != (node.Disk{})
	if err != nil || want == held || len(inside) > 0 {
		return nil, err
	}
	return &want, nil
}

func (m *machine) longhornDone(context.Context) (bool, error) {
	if m.cfg.Longhorn.Disk == (node.Disk{}) {
		return true, nil
	}
	on, err := m.Disks.Mounted(longhornDir)
	if err != nil || on == nil || on.Lost || on.Failed {
		return false, err
	}
	if ok, err := m.volumesLaid(); err != nil || !ok {
		return false, err
	}
	id, err := m.longhornDisk()
	if err != nil || id == "" {
		return false, err
	}
	bare, err := m.unlabelled()
	return !bare, err
}

func (m *machine) longhornDo(ctx context.Context) error {
	on, err := m.Disks.Mounted(longhornDir)
	if err != nil {
		return err
	}
	if on != nil && on.Failed && !on.Lost {
		return problem("longhorn-failed", on.Device)
	}
	if id, err := m.longhornDisk(); err != nil || id == "" || on == nil || on.Lost {
		if err := errors.Join(err, m.attachLonghorn(ctx, on, id)); err != nil {
			return err
		}
	}
	if ok, err := m.volumesLaid(); err != nil {
		return err
	} else if !ok { // the disk was not there when the step storage ran
		if err := m.refuseForeign(); err != nil {
			return err
		}
		if err := m.openStorage(ctx); err != nil {
			return err
		}
	}
	return m.labelLonghorn(ctx)
}

// refuseForeign refuses volumes encrypted with another key, on a node that
// encrypts or is about to. Other nodes leave that directory as it is.
func (m *machine) refuseForeign() error {
	if encrypts, err := m.encrypts(); err != nil || !encrypts {
		return err
	}
	foreign, err := m.foreignVolumes()
	if err == nil && foreign {
		err = problem("longhorn-foreign", m.cfg.Node)
	}
	return err
}

// ErrOtherDisk means that another disk than the wanted one is mounted.
var ErrOtherDisk = errors.New("another disk is mounted there")

// attachLonghorn also remembers the disk. If power fails before that, the disk
// is found again by its own mark.
func (m *machine) attachLonghorn(ctx context.Context, on *Mount, known string) error {
	if on == nil { // a disk that is gone cannot be listed
		if inside, err := m.Files.List(longhornDir); err != nil {
			return err
		} else if len(inside) > 0 {
			return problem("longhorn-volumes")
		}
	}
	state, err := m.bootState()
	if err != nil {
		return err
	}
	spec := m.cfg.Longhorn.Disk
	id, err := m.Disks.Attach(ctx, longhornDir, disks.Want{
		Purpose: disks.Longhorn, Spec: spec, Node: m.cfg.Node, Known: known, Taken: []string{state.Disk, state.DataDisk},
	})
	var f *disks.Fault
	switch {
	case errors.As(err, &f):
		return problem("longhorn-disk", f.What, f.Disks, f.Do).because(err)
	case errors.Is(err, disks.ErrDamaged), errors.Is(err, disks.ErrNoExt4):
		return problem("longhorn-damaged", err.Error()).because(err)
	case errors.Is(err, ErrOtherDisk):
		return problem("longhorn-restart").because(err)
	case err != nil:
		return err
	}
	if err := m.refuseForeign(); err != nil { // not remembered: once erased, it counts as another disk
		return err
	}
	return m.ensure([]file{text644(longhornFile, id+"\n"+spec.String()+"\n")})
}

// longhornDisk returns the ID of the disk that this node uses, "" if there is
// none or node.yaml now names another one.
func (m *machine) longhornDisk() (id string, err error) {
	data, err := m.read(longhornFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	id, spec, _ := strings.Cut(strings.TrimSpace(string(data)), "\n")
	if err != nil || spec != m.cfg.Longhorn.Disk.String() {
		return "", err
	}
	return id, nil
}

// What Longhorn 1.12 reads from a Kubernetes node that it does not know yet
// ("Configuring Defaults for Nodes and Disks").
const (
	diskLabel = "node.longhorn.io/create-default-disk"
	diskNote  = "node.longhorn.io/default-disks-config"
)

// diskConfig says in which directory of the disk the volumes are.
func (m *machine) diskConfig() (string, error) {
	dir := longhornDir
	encrypts, err := m.encrypts()
	if encrypts {
		dir = volumesDir
	}
	return `[{"path":"` + dir + `","allowScheduling":true}]`, err
}

// unlabelled reports whether this node's Node, as verify saw it in this pass,
// lacks what labelLonghorn sets. It is false if verify has not seen it.
func (m *machine) unlabelled() (bool, error) {
	var n struct {
		Metadata struct{ Labels, Annotations map[string]string }
	}
	if m.object == nil || json.Unmarshal(m.object, &n) != nil {
		return false, nil
	}
	want, err := m.diskConfig()
	return n.Metadata.Labels[diskLabel] != "config" || n.Metadata.Annotations[diskNote] != want, err
}

// labelLonghorn uses the kubelet's rights, which may change its own Node. k3s
// has a flag for labels, but none for annotations.
func (m *machine) labelLonghorn(ctx context.Context) error {
	if bare, err := m.unlabelled(); err != nil || !bare {
		return err
	}
	config, err := m.diskConfig()
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"labels": map[string]string{diskLabel: "config"}, "annotations": map[string]string{diskNote: config},
	}})
	if err != nil {
		return err
	}
	return m.Net.Patch(ctx, kubeletConf, "/api/v1/nodes/"+m.cfg.Node, patch)
}
