package resurrect

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/systembackup/systembackuptest"
)

// tailnet is a Headscale for this package's requests.
type tailnet struct {
	nodes   []headscale.Node
	err     error
	deleted []headscale.ID
}

func (s *tailnet) Nodes(context.Context) ([]headscale.Node, error) { return s.nodes, s.err }
func (s *tailnet) DeleteNode(_ context.Context, id headscale.ID) error {
	s.deleted = append(s.deleted, id)
	return headscale.ErrNotFound // somebody else was faster
}

const file = `version: 1
cluster:
  name: shed
  headscale:
    url: https://hs.example.org
    server: {hostKey: {file: a}, loginKey: {file: b}, backup: {s3: {endpoint: %[1]s, region: r, bucket: volumes, prefix: hs/, accessKey: a, secretKey: {env: S3}}}}
  k3s: {token: {env: S3}, agentToken: {env: S3}, init: cabin-pi, backup: {endpoint: %[1]s, region: r, bucket: snapshots, accessKey: a, secretKey: {env: S3}}}
  longhorn: {backup: {endpoint: %[1]s, region: r, bucket: volumes, prefix: cluster, accessKey: a, secretKey: {env: S3}}}
sites: {home: {}, cabin: {}, cloud: {}}
nodes:
  home-pi: {board: rpi4, site: home, role: server}
  cabin-pi: {board: rpi4, site: cabin, role: server, dataDisk: /dev/disk/by-id/usb-1}
  box: {board: optiplex-7050, site: cabin, role: agent}
  vps: {board: generic-arm64, site: cloud, role: %[2]s}
`

const at = "cluster/backupstore/system-backups/"

// shed is a fleet with a bucket.
func shed(t *testing.T, role string, files map[string][]byte) *fleet.Fleet {
	t.Helper()
	t.Setenv("S3", "planted")
	dir := t.TempDir()
	f, err := fleet.Load(filepath.Join(dir, fleet.FileName), fmt.Appendf(nil, file, systembackuptest.Bucket(t, files).Endpoint, role), nil)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

const headscaleCopy = "hs/headscale-20261128T033000Z.tar.gz"

// copyOf is the beginning of a database copy made by a version of Headscale, as far as it is
// read.
func copyOf(version string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Comment = version
	if err := z.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func weekly() map[string][]byte {
	files := map[string][]byte{headscaleCopy: copyOf("v0.29.0")}
	systembackuptest.Add(files, at, "v1.12.1", "weekly-1", "2026-11-15T05:11:00Z", "ide/home")
	systembackuptest.Add(files, at, "v1.12.1", "weekly-2", "2026-11-22T05:11:00Z", "ide/home", "cloud/data", "cloud/db=")
	return files
}

func member(f *fleet.Fleet, id, name string, online bool) headscale.Node {
	n, _ := f.Find(name)
	return headscale.Node{ID: headscale.ID(id), Name: name, GivenName: name, Tags: n.Tags(), Online: online}
}

func runbook(t *testing.T, r *Rising, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	steps, err := r.Runbook()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(steps, "\n")
}

// TestTheNodesAreLost: the lost nodes are removed from what still runs, and the newest
// backup is restored.
func TestTheNodesAreLost(t *testing.T) {
	f := shed(t, "[control, witness]", weekly())
	s := &tailnet{nodes: []headscale.Node{member(f, "4", "box", false), member(f, "2", "cabin-pi", false), member(f, "1", "vps", true), {ID: "9", GivenName: "phone", Online: true}}}
	r, err := Prepare(t.Context(), f, s, Options{})
	want := `delete cabin-pi (number 2) from the tailnet
delete box (number 4) from the tailnet
on vps, which lives: remove the lost cluster's data, which it votes for
write the card of cabin-pi, which creates the cluster, with the authorities and tokens that it had
write the cards of home-pi, box, and switch all on
the lost cluster's snapshots of etcd stay in the bucket snapshots: the new one puts its own into another folder
cabin-pi waits for a node with a disk, then lets Longhorn bring back its system backup weekly-2 of 22 November 2026 05:11 UTC: 3 volumes (cloud/data, cloud/db, ide/home); empty, as they were never backed up: cloud/db
when all are back, and no earlier, Argo CD begins with what Git has`
	if d := cmp.Diff(want, runbook(t, r, err)); d != "" {
		t.Error(d)
	}
	if got := r.Restore(); got.SystemBackup != "weekly-2" || !maps.Equal(got.Claims, map[string]string{"cloud/data": "backup-data", "cloud/db": "", "ide/home": "backup-home"}) {
		t.Errorf("%+v", got)
	}
	if len(s.deleted) > 0 {
		t.Error("to look deleted something")
	}
	if err := errors.Join(r.Ready(), r.Forget(t.Context())); err != nil || !slices.Equal(s.deleted, []headscale.ID{"2", "4"}) {
		t.Errorf("%v, %v", s.deleted, err)
	}
	if got := r.Missing([]string{"cabin-pi"}); !slices.Equal(got, []string{"home-pi", "box"}) || r.Witness() != "vps" {
		t.Errorf("%v, %q", got, r.Witness())
	}
	if got := r.Advice(); len(got) != 1 || !strings.Contains(got[0], "cabin-pi: its disk /dev/disk/by-id/usb-1") {
		t.Errorf("%q", got)
	}
}

// TestABackupOfAPartIsTold: one that was made while volumes came back is the newest, and whole.
func TestABackupOfAPartIsTold(t *testing.T) {
	part := weekly()
	systembackuptest.Add(part, at, "v1.12.1", "theirs", "2026-11-01T05:11:00Z", "cloud/mail@theirs")
	systembackuptest.Add(part, at, "v1.12.1", "weekly-0", "2026-11-08T05:11:00Z", "ide/home", "cloud/data", "old/data")
	systembackuptest.Add(part, at, "v1.12.1", "weekly-3", "2026-11-29T05:11:00Z", "ide/home")
	many := []string{"ide/home"}
	for i := range 11 {
		many = append(many, fmt.Sprintf("a/%d", i+1))
	}
	systembackuptest.Add(part, at, "v1.12.1", "weekly-8", "2026-11-29T06:11:00Z", many...)
	systembackuptest.Add(part, at, "v1.12.1", "weekly-9", "2026-11-30T05:11:00Z", "ide/home")
	for name, want := range map[string][]string{
		"weekly-2": {"weekly-2 (of 22 November 2026 05:11 UTC) does not have old/data, which weekly-0 (of 8 November 2026 05:11 UTC) has: unless that was given up, say --system-backup weekly-0,"},
		"weekly-3": {"weekly-3 (of 29 November 2026 05:11 UTC) does not have cloud/data, cloud/db, which weekly-2 (", "does not have old/data, which weekly-0 ("},
		"weekly-0": nil,
		"weekly-9": {"weekly-9 (of 30 November 2026 05:11 UTC) does not have a/1, a/10, a/11, a/2, a/3, a/4, a/5, a/6, a/7, a/8 and 1 more, which weekly-8 (", "does not have cloud/data, cloud/db, which weekly-2", "old/data"},
	} {
		r, err := Prepare(t.Context(), shed(t, "[control, witness]", part), &tailnet{}, Options{SystemBackup: name})
		if err != nil || len(r.Told) != len(want) {
			t.Errorf("%s: %+v, %v", name, r, err)
			continue
		}
		for i, w := range want {
			if !strings.Contains(r.Told[i], w) {
				t.Errorf("%s: no %q in %q", name, w, r.Told[i])
			}
		}
	}
}

// TestNothingStartsK3sWhileItsDataGo: tailscaled upholds k3s, so systemd starts it again at
// once when it is stopped, unless a condition of its unit is not met. However ForgetVote
// ends, firstboot runs again.
func TestNothingStartsK3sWhileItsDataGo(t *testing.T) {
	const data, conf = "/var/lib/rancher/k3s/", "/etc/rancher/k3s/config.yaml"
	old := map[string]string{
		data + "server/db/state":     "",
		data + "agent/client-ca.crt": "",
		data + "agent/containerd/io": "",
	}
	for name, c := range map[string]struct {
		files map[string]string
		rm    string // what it does about k3s' data
		fails bool
		left  string
	}{
		"a witness of the lost cluster": {files: old, rm: "exec /bin/rm", left: "agent/containerd"},
		// This witness was lost and rebuilt, and has no cluster to vote in yet.
		"one where k3s never ran": {rm: "exec /bin/rm"},
		"a disk that fails":       {files: old, rm: "false", fails: true, left: "agent/client-ca.crt agent/containerd server/db"},
	} {
		dir := t.TempDir()
		files := map[string]string{
			conf:             "",
			"/bin/systemctl": "#!/bin/sh\necho \"$*\" >>" + dir + "/did\ncase $* in stop*k3s) test ! -e " + dir + conf + " || touch " + dir + "/up;; esac\n",
			"/bin/rm":        "#!/bin/sh\ncase $* in *" + conf + ") exec /bin/rm \"$@\";; esac\ntest ! -e " + dir + "/up && " + c.rm + " \"$@\"\n",
		}
		maps.Copy(files, c.files)
		for name, text := range files {
			path := dir + name
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755)); err != nil {
				t.Fatal(err)
			}
		}
		steps := strings.NewReplacer("/etc/", dir+"/etc/", "/var/", dir+"/var/").Replace(ForgetVote)
		sh := exec.Command("sh", "-c", steps)
		sh.Env = []string{"PATH=" + dir + "/bin:" + os.Getenv("PATH")}
		if out, err := sh.CombinedOutput(); (err != nil) != c.fails {
			t.Errorf("%s: k3s ran, or %v: %s", name, err, out)
		}
		left, _ := filepath.Glob(dir + data + "*/*")
		for i, path := range left {
			left[i] = strings.TrimPrefix(path, dir+data)
		}
		if did, _ := os.ReadFile(dir + "/did"); string(did) != "stop firstboot\nstop k3s\nstart firstboot\n" || strings.Join(left, " ") != c.left {
			t.Errorf("%s: %s%q are left", name, did, left)
		}
	}
}

// TestWhatIsNoWordOfLife: a stranger of a node's name is in the way, and so are notes that
// nobody can read; neither says that the cluster lives.
func TestWhatIsNoWordOfLife(t *testing.T) {
	f := shed(t, "control", weekly())
	stranger := headscale.Node{ID: "9", GivenName: "box", Online: true}
	_, err := Prepare(t.Context(), f, &tailnet{nodes: []headscale.Node{stranger}}, Options{WithoutVolumes: true})
	if err == nil || strings.Contains(err.Error(), "is not lost") || !strings.HasPrefix(err.Error(), "a device that is none of this fleet is called box") {
		t.Error(err)
	}
	_, err = Prepare(t.Context(), f, &tailnet{nodes: []headscale.Node{member(f, "4", "box", true)}}, Options{WithoutVolumes: true})
	if err == nil || !strings.HasPrefix(err.Error(), "the cluster is not lost: box is online") {
		t.Error(err)
	}
}

// TestHeadscaleIsLost: its machine has to be rebuilt first, with its database.
func TestHeadscaleIsLost(t *testing.T) {
	r, err := Prepare(t.Context(), shed(t, "control", weekly()), &tailnet{err: errors.New("no answer")}, Options{WithoutVolumes: true})
	want := `Headscale does not answer (no answer). If vps is lost: imagebuilder flash --node vps, and switch it on. It brings back its database of 28 November 2026 03:30 UTC from s3://volumes/hs/: people's devices keep their addresses
imagebuilder headscale init, and this command again
write the card of cabin-pi, which creates the cluster, with the authorities and tokens that it had
write the cards of home-pi, box, and switch all on
the lost cluster's snapshots of etcd stay in the bucket snapshots: the new one puts its own into another folder
it begins without volumes: whatever asks for one gets an empty one`
	if d := cmp.Diff(want, runbook(t, r, err)); d != "" {
		t.Error(d)
	}
	if err := r.Ready(); err == nil || !strings.Contains(err.Error(), "flash --node vps") || r.Restore() != nil || r.Witness() != "" {
		t.Errorf("%v", err)
	}
	older := map[string][]byte{headscaleCopy: copyOf("v0.20.1")}
	r, err = Prepare(t.Context(), shed(t, "control", older), &tailnet{err: errors.New("no answer")}, Options{WithoutVolumes: true})
	if got := runbook(t, r, err); !strings.Contains(got, "It does not bring back its database of 28 November 2026 03:30 UTC from s3://volumes/hs/ as it is: its database was used by Headscale v0.20.1, which") {
		t.Errorf("a copy of another version: %s", got)
	}
	r, err = Prepare(t.Context(), shed(t, "control", map[string][]byte{}), &tailnet{err: errors.New("no answer")}, Options{WithoutVolumes: true})
	if got := runbook(t, r, err); !strings.Contains(got, "an empty tailnet") {
		t.Errorf("without a copy: %s", got)
	}
}

// TestWhatIsRefused.
func TestWhatIsRefused(t *testing.T) {
	none := map[string][]byte{}
	other, hollow := weekly(), weekly()
	systembackuptest.Add(other, at, "v1.11.0", "older", "2026-11-23T05:11:00Z", "ide/home")
	systembackuptest.Add(hollow, at, "v1.12.1", "empty", "2026-11-23T05:11:00Z")
	// Another cluster with the same applications was in the same bucket for two nights.
	shared, alone := weekly(), weekly()
	systembackuptest.Add(shared, at, "v1.12.1", "theirs-1", "2026-11-23T05:11:00Z", "ide/home@theirs", "cloud/data@theirs")
	systembackuptest.Add(shared, at, "v1.12.1", "theirs-2", "2026-11-24T05:11:00Z", "ide/home@theirs")
	systembackuptest.Add(alone, at, "v1.12.1", "first", "2026-11-01T05:11:00Z")
	systembackuptest.Add(alone, at, "v1.12.1", "weekly-3", "2026-11-29T05:11:00Z", "cloud/data") // ide is gone, and weekly-1 has no other volume
	for name, c := range map[string]struct {
		files map[string][]byte
		err   error
		here  string // a node that is online
		o     Options
		want  string // "" is no error
	}{
		"a living node":                 {weekly(), nil, "home-pi", Options{}, "not lost: home-pi is online"},
		"one that was just cut off":     {weekly(), nil, "home-pi", Options{EvenIfOnline: true}, ""},
		"the machine of Headscale":      {weekly(), nil, "vps", Options{}, ""},
		"a Headscale that refuses":      {weekly(), headscale.ErrUnauthorized, "", Options{}, headscale.ErrUnauthorized.Error()},
		"a Headscale that is ill":       {weekly(), &headscale.APIError{Status: 500}, "", Options{}, "500"},
		"an empty bucket":               {none, nil, "", Options{}, "no backup of Longhorn's system"},
		"an empty bucket, and all well": {none, nil, "", Options{WithoutVolumes: true}, ""},
		"another Longhorn":              {other, nil, "", Options{}, "is of Longhorn v1.11.0, and this imagebuilder brings v1.12.1"},
		"one that was named":            {other, nil, "", Options{SystemBackup: "weekly-1"}, ""},
		"one that is not there":         {other, nil, "", Options{SystemBackup: "weekly-3"}, "it has older, weekly-2, weekly-1"},
		"one of two clusters":           {shared, nil, "", Options{}, "(theirs-2, of 24 November 2026 05:11 UTC) shares no volume with weekly-2, weekly-1: "},
		"and which they are":            {shared, nil, "", Options{}, "theirs-1 (23 November 2026 05:11 UTC: cloud/data, ide/home); weekly-2 ("},
		"one of two, by its name":       {shared, nil, "", Options{SystemBackup: "weekly-2"}, ""},
		"one that has changed":          {alone, nil, "", Options{}, ""},
		"one of nothing":                {hollow, nil, "", Options{}, "has no volumes, and older ones have"},
		"one of nothing, by its name":   {hollow, nil, "", Options{SystemBackup: "empty"}, ""},
	} {
		f := shed(t, "[control, witness]", c.files)
		s := &tailnet{err: c.err}
		if c.here != "" {
			s.nodes = []headscale.Node{member(f, "3", c.here, true)}
		}
		_, err := Prepare(t.Context(), f, s, c.o)
		if got := fmt.Sprint(err); (err == nil) != (c.want == "") || err != nil && !strings.Contains(got, c.want) || strings.Contains(got, "planted") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
