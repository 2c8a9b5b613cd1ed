package systembackup

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/systembackup/systembackuptest"
)

// TestList reads a bucket as Longhorn leaves it.
func TestList(t *testing.T) {
	files := map[string][]byte{
		"cluster/backupstore/volumes/aa/bb/pvc-1/volume.cfg":             []byte("{}"),
		"backupstore/system-backups/v1.12.1/other/system-backup.cfg":     []byte("{}"), // of another prefix
		"cluster/backupstore/system-backups/v1.12.1/x/system-backup.zip": []byte("begun"),
	}
	at := "cluster/backupstore/system-backups/"
	systembackuptest.Add(files, at, "v1.12.1", "weekly-1", "2026-11-15T05:11:00Z", "nextcloud/data", "ide/home", "nextcloud/database=")
	systembackuptest.Add(files, at, "v1.12.1", "weekly-2", "2026-11-22T05:11:00Z")
	systembackuptest.Add(files, at, "v1.11.0", "old", "2026-01-01T05:11:00Z", "ide/home")
	for name, spoil := range map[string]func([]byte) []byte{
		"cut":     func(b []byte) []byte { return b[:len(b)/2] },
		"foreign": func([]byte) []byte { return zipped(t, "x/yamls/kubernetes/pods.yaml", "kind: PodList") },
		"hollow":  func([]byte) []byte { return zipped(t, "x/yamls/kubernetes/a.yaml", "kind: PersistentVolumeClaimList") },
		"spoilt":  func([]byte) []byte { return zipped(t, "x/yamls/kubernetes/a.yaml", "kind: [") },
	} {
		systembackuptest.Add(files, at, "v1.12.1", name, "2026-11-23T05:11:00Z", "a/b")
		zip := at + "v1.12.1/" + name + "/system-backup.zip"
		files[zip] = spoil(files[zip])
	}
	systembackuptest.Add(files, at, "v1.12.1", "moved", "2026-11-24T05:11:00Z", "a/b")
	files[at+"v1.12.1/moved/system-backup.cfg"] = bytes.Replace(files[at+"v1.12.1/moved/system-backup.cfg"], []byte(`"moved"`), []byte(`"../up"`), 1)

	var told []string
	all, err := List(Open(systembackuptest.Bucket(t, files)), func(s string) { told = append(told, s) })
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, b := range all {
		got = append(got, fmt.Sprint(b.Name, " ", b.Version, " ", b.Created.Format("Jan 2"), " ", b.Claims, b.Volumes))
	}
	want := []string{
		"weekly-2 v1.12.1 Nov 22 map[] []",
		"weekly-1 v1.12.1 Nov 15 map[ide/home:backup-home nextcloud/data:backup-data nextcloud/database:] [pvc-nextcloud-data pvc-ide-home pvc-nextcloud-database]",
		"old v1.11.0 Jan 1 map[ide/home:backup-home] [pvc-ide-home]",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	slices.Sort(told)
	if len(told) != 5 || !strings.Contains(told[0], "v1.12.1/cut is not used") || !strings.Contains(told[1], "no list of claims") || !strings.Contains(told[2], "no list of volumes") || !strings.Contains(told[3], "says that it is v1.12.1/../up") {
		t.Errorf("%q", told)
	}
}

func zipped(t *testing.T, name, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	f, err := z.Create(name)
	if err == nil {
		_, err = f.Write([]byte(text))
	}
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestABucketThatIsNoneIsSaid: a missing bucket is reported, and not taken for an empty one.
func TestABucketThatIsNoneIsSaid(t *testing.T) {
	s := systembackuptest.Bucket(t, nil)
	s.Bucket = "none"
	if _, err := List(Open(s), func(string) {}); err == nil || !strings.Contains(err.Error(), "s3://none/cluster/backupstore") {
		t.Errorf("%v", err)
	}
}

// FuzzClaims: a bucket's content is not trusted.
func FuzzClaims(f *testing.F) {
	files := map[string][]byte{}
	systembackuptest.Add(files, "", "v", "n", "2026-11-24T05:11:00Z", "a/b")
	f.Add(files["v/n/system-backup.zip"])
	f.Fuzz(func(t *testing.T, data []byte) { _, _, _ = claims(data) })
}
