// Package systembackuptest makes what Longhorn 1.12 puts into a bucket for a system
// backup, and a server with such a bucket.
package systembackuptest

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// Bucket runs a server with one bucket for the time of a test.
func Bucket(t testing.TB, files map[string][]byte) *node.S3 {
	t.Helper()
	memory := s3mem.New()
	must(memory.CreateBucket("volumes"))
	for name, data := range files {
		_, err := memory.PutObject("volumes", name, nil, bytes.NewReader(data), int64(len(data)), nil)
		must(err)
	}
	s := httptest.NewServer(gofakes3.New(memory).Server())
	t.Cleanup(s.Close)
	return &node.S3{Endpoint: s.URL, Region: "eu-west-1", Bucket: "volumes", Prefix: "/cluster", AccessKey: "a", SecretKey: "b"}
}

// Add puts a backup among the files of a bucket, below a prefix. Claims are
// NAMESPACE/NAME, and of a volume whose last Backup is backup-NAME; NAMESPACE/NAME= is
// of one that has none, and NAMESPACE/NAME@CLUSTER one of another cluster.
func Add(files map[string][]byte, prefix, version, name, created string, claims ...string) {
	about, err := json.Marshal(map[string]string{"Name": name, "LonghornVersion": version, "CreatedAt": created, "ManagerImage": "docker.io/longhornio/longhorn-manager:" + version})
	must(err)
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for file, text := range map[string][]byte{
		name + "/yamls/kubernetes/persistentvolumeclaims.yaml": list("PersistentVolumeClaimList", claims),
		name + "/yamls/kubernetes/daemonsets.yaml":             []byte("apiVersion: apps/v1\nkind: DaemonSetList\nitems: []\n"),
		name + "/yamls/longhorn/volumes.yaml":                  list("VolumeList", claims),
	} {
		f, err := z.Create(file)
		must(err)
		_, err = f.Write(text)
		must(err)
	}
	must(z.Close())
	dir := prefix + version + "/" + name + "/"
	files[dir+"system-backup.cfg"], files[dir+"system-backup.zip"] = about, b.Bytes()
}

// list is of claims, or of their volumes: the two know each other by the name of a
// PersistentVolume.
func list(kind string, claims []string) []byte {
	items := []any{}
	for i, c := range claims {
		claim, none := strings.CutSuffix(c, "=")
		claim, cluster, _ := strings.Cut(claim, "@")
		space, name, _ := strings.Cut(claim, "/")
		pv, last := "pvc-"+space+"-"+name+cluster, "backup-"+name
		if none {
			last = ""
		}
		item := map[string]any{"metadata": map[string]string{"namespace": space, "name": name}, "spec": map[string]string{"volumeName": pv}}
		if kind == "VolumeList" {
			item = map[string]any{"metadata": map[string]string{"name": fmt.Sprint("volume-", i)}, "status": map[string]any{"lastBackup": last, "kubernetesStatus": map[string]string{"pvName": pv}}}
		}
		items = append(items, item)
	}
	text, err := yaml.Marshal(map[string]any{"kind": kind, "items": items})
	must(err)
	return text
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
