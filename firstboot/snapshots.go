package firstboot

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

const (
	k3sSpace   = "kube-system"
	etcdFolder = "etcd-s3-folder" // the name of k3s' flag
)

// ownFolder gives each cluster its own folder for etcd's snapshots, below the one that
// node.yaml names. k3s removes surplus snapshots from a folder, whoever put them there:
// in a shared folder, also those of a lost cluster whose place this one takes. A cluster
// keeps the folder that it has, whatever a later node.yaml says. So does an older
// cluster, which uses node.yaml's folder itself.
func (m *machine) ownFolder(ctx context.Context, s node.Secret) (node.Secret, error) {
	base := s.Data[etcdFolder].Reveal()
	if s.Namespace != k3sSpace || s.Name != contract.EtcdSecret || base == "" {
		return s, nil
	}
	folder, err := m.snapshotFolder(ctx)
	if err != nil {
		return s, err
	}
	if folder != base && !strings.HasPrefix(folder, base+"/") {
		folder = base + "/" + m.Clock.Now().UTC().Format("20060102-1504")
	}
	s.Data = maps.Clone(s.Data)
	s.Data[etcdFolder] = secret.String(folder)
	return s, nil
}

// snapshotFolder returns the folder that the cluster has, "" while it has none.
func (m *machine) snapshotFolder(ctx context.Context) (string, error) {
	out, err := m.Net.API(ctx, adminConf, "/api/v1/namespaces/"+k3sSpace+"/secrets/"+contract.EtcdSecret)
	if errors.Is(err, ErrNoObject) {
		return "", nil
	}
	var there struct{ Data map[string][]byte }
	if err == nil {
		err = json.Unmarshal(out, &there)
	}
	return string(there.Data[etcdFolder]), err
}
