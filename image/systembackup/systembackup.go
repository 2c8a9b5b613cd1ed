// Package systembackup reads what Longhorn has put into a bucket about itself and
// its volumes: which system backups there are, of which version, and of which
// claims on volumes (longhorn.io, "Backupstore Layout").
//
// It reads and changes nothing, and looks at no volume's data: bringing that back
// is Longhorn's business.
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

// Backup is one of the whole system.
type Backup struct {
	Name    string
	Version string // of Longhorn, such as v1.12.1
	Created time.Time
	// Claims are PersistentVolumeClaims, as NAMESPACE/NAME, sorted.
	Claims []string
}

// Namespaces are those of the claims.
func (b *Backup) Namespaces() (all []string) {
	for _, c := range b.Claims {
		space, _, _ := strings.Cut(c, "/")
		all = append(all, space)
	}
	return slices.Compact(all)
}

// Files of one, in a directory VERSION/NAME.
const (
	config  = "system-backup.cfg"
	archive = "system-backup.zip"
)

// Open is where Longhorn keeps them in a bucket that it backs up to.
func Open(s *node.S3) backup.Store {
	bucket := *s
	bucket.Prefix = path.Join(strings.Trim(s.Prefix, "/"), "backupstore/system-backups") + "/"
	return backup.Bucket(&bucket)
}

// List reads all that are whole, the newest first. What cannot be used is told of.
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
	if b.Claims, err = claims(data); err != nil {
		return nil, fmt.Errorf("%s: %w", archive, err)
	}
	return b, nil
}

// largest bounds what is read of one file, in bytes: ten thousand claims take some
// twenty million.
const largest = 64 << 20

// claims finds the list of claims among the archive's YAML files, by its kind.
func claims(data []byte) ([]string, error) {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	for _, f := range z.File {
		if !strings.HasSuffix(f.Name, ".yaml") || path.Base(path.Dir(f.Name)) != "kubernetes" {
			continue
		}
		if found, ok, err := claimList(f); err != nil || ok {
			return found, err
		}
	}
	return nil, errors.New("it has no list of claims on volumes")
}

func claimList(f *zip.File) (all []string, ok bool, err error) {
	r, err := f.Open()
	if err != nil {
		return nil, false, err
	}
	defer r.Close()
	var list struct {
		Kind  string
		Items []struct {
			Metadata struct{ Namespace, Name string }
		}
	}
	if err := yaml.NewDecoder(io.LimitReader(r, largest)).Decode(&list); err != nil {
		return nil, false, fmt.Errorf("%s: %w", f.Name, err)
	}
	if list.Kind != "PersistentVolumeClaimList" {
		return nil, false, nil
	}
	for _, i := range list.Items {
		all = append(all, i.Metadata.Namespace+"/"+i.Metadata.Name)
	}
	slices.Sort(all)
	return all, true, nil
}
