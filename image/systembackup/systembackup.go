// Package systembackup reads what Longhorn has stored in a bucket about itself and its
// volumes: which system backups there are, of which version, and with which volume claims
// (longhorn.io, "Backupstore Layout").
//
// It changes nothing, and does not read volume data: restoring that is Longhorn's task.
package systembackup

import (
	"archive/zip"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/backup"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// Backup is a backup of the whole Longhorn system.
type Backup struct {
	Name    string
	Version string // of Longhorn, such as v1.12.1
	Created time.Time
	// Claims are PersistentVolumeClaims, as NAMESPACE/NAME, each with the name of the Backup
	// from which its volume is restored: the volume's latest, "" if it had none.
	Claims map[string]string
	// Volumes are the PersistentVolumes of the claims. Their names are unique among all
	// clusters, and a restored volume keeps its name.
	Volumes []string
}

// Files of one backup, in a directory VERSION/NAME.
const (
	config  = "system-backup.cfg"
	archive = "system-backup.zip"
)

// Open is the place of Longhorn's system backups in its backup bucket.
func Open(s *node.S3) backup.Store {
	bucket := *s
	bucket.Prefix = path.Join(strings.Trim(s.Prefix, "/"), "backupstore/system-backups") + "/"
	return backup.Bucket(&bucket)
}

// List reads all complete backups, the newest first. tell is told about those that cannot be
// used.
func List(store backup.Store, tell func(string)) ([]*Backup, error) {
	names, err := store.List()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", store, err)
	}
	var all []*Backup
	for _, name := range names {
		if path.Base(name) != config {
			continue
		}
		b, err := read(store, path.Dir(name))
		if err != nil {
			tell(fmt.Sprintf("%s%s is not used: %v", store, path.Dir(name), err))
			continue
		}
		all = append(all, b)
	}
	slices.SortFunc(all, func(a, b *Backup) int { return cmp.Or(b.Created.Compare(a.Created), strings.Compare(a.Name, b.Name)) })
	return all, nil
}

func read(store backup.Store, dir string) (*Backup, error) {
	text, err := store.Get(dir + "/" + config)
	if err != nil {
		return nil, err
	}
	var about struct {
		Name, LonghornVersion string
		CreatedAt             time.Time
	}
	if err := json.Unmarshal(text, &about); err != nil {
		return nil, fmt.Errorf("%s: %w", config, err)
	}
	if dir != about.LonghornVersion+"/"+about.Name {
		return nil, fmt.Errorf("%s says that it is %s/%s", config, about.LonghornVersion, about.Name)
	}
	data, err := store.Get(dir + "/" + archive)
	if err != nil {
		return nil, err
	}
	b := &Backup{Name: about.Name, Version: about.LonghornVersion, Created: about.CreatedAt}
	if b.Claims, b.Volumes, err = claims(data); err != nil {
		return nil, fmt.Errorf("%s: %w", archive, err)
	}
	return b, nil
}

// largest bounds the size of one file, in bytes: ten thousand claims take about twenty
// million.
const largest = 64 << 20

// claims finds the lists of claims and volumes among the YAML files in the archive, by their
// kinds. volumes are those that are claimed.
func claims(data []byte) (all map[string]string, volumes []string, err error) {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, nil, err
	}
	lists := map[string][]object{}
	for _, f := range z.File {
		if !strings.HasSuffix(f.Name, ".yaml") || !slices.Contains([]string{"kubernetes", "longhorn"}, path.Base(path.Dir(f.Name))) {
			continue
		}
		if err := readList(f, lists); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	if lists[claimList] == nil {
		return nil, nil, errors.New("it has no list of claims on volumes")
	}
	if lists[volumeList] == nil {
		return nil, nil, errors.New("it has no list of volumes")
	}
	last := map[string]string{}
	for _, v := range lists[volumeList] {
		last[v.Status.KubernetesStatus.PVName] = v.Status.LastBackup
	}
	all = map[string]string{}
	for _, c := range lists[claimList] {
		all[c.Metadata.Namespace+"/"+c.Metadata.Name] = last[c.Spec.VolumeName]
		if c.Spec.VolumeName != "" { // otherwise the claim still waits for its volume
			volumes = append(volumes, c.Spec.VolumeName)
		}
	}
	return all, volumes, nil
}

const claimList, volumeList = "PersistentVolumeClaimList", "VolumeList" // of Kubernetes, and of Longhorn

// object is a claim or a volume.
type object struct {
	Metadata struct{ Namespace, Name string }
	Spec     struct {
		VolumeName string `yaml:"volumeName"` // the PersistentVolume of a claim
	}
	Status struct {
		LastBackup       string `yaml:"lastBackup"`
		KubernetesStatus struct {
			PVName string `yaml:"pvName"`
		} `yaml:"kubernetesStatus"`
	}
}

// readList adds a file to lists if it is one of the two.
func readList(f *zip.File, lists map[string][]object) error {
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	var list struct {
		Kind  string
		Items yaml.Node
	}
	if err := yaml.NewDecoder(io.LimitReader(r, largest)).Decode(&list); err != nil {
		return err
	}
	if list.Kind != claimList && list.Kind != volumeList {
		return nil
	}
	var items []object
	if err := list.Items.Decode(&items); err != nil {
		return err
	}
	lists[list.Kind] = append([]object{}, items...) // not nil, to show that the list was there
	return nil
}
