package seed

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

const (
	longhornSpace  = "longhorn-system"
	longhornSecret = "longhorn-s3"
	jobsFile       = "longhorn-jobs"
)

//go:embed longhorn.yaml
var longhornValues []byte

// LonghornCPU is the part of a node's processors that these values keep for
// Longhorn's engines, in hundredths.
const LonghornCPU = 12

// Longhorn is the cluster's storage.
type Longhorn struct {
	// Replicas of each volume.
	Replicas int
	// Sites that have disks for it. With one, replicas must share it.
	Sites  int
	Backup *node.S3
}

func (b *builder) longhorn(l *Longhorn) {
	values := b.defaults("longhorn.yaml", longhornValues)
	if b.err != nil {
		return
	}
	under(values, "persistence")["defaultClassReplicaCount"] = l.Replicas
	settings := under(values, "defaultSettings")
	settings["defaultReplicaCount"] = fmt.Sprintf(`{"v1":"%[1]d","v2":"%[1]d"}`, l.Replicas) // JSON in a text: a value an engine
	settings["replicaZoneSoftAntiAffinity"] = l.Sites < 2
	if l.Replicas == 1 { // each is a volume's last, and Longhorn lets no node be drained that has one
		settings["nodeDrainPolicy"] = "allow-if-replica-is-stopped"
	}
	jobs := recurring
	if l.Backup == nil {
		jobs = recurring[:localJobs]
	} else {
		store := under(values, "defaultBackupStore")
		store["backupTarget"] = fmt.Sprintf("s3://%s@%s/%s", l.Backup.Bucket, l.Backup.Region, strings.TrimPrefix(l.Backup.Prefix, "/"))
		store["backupTargetCredentialSecret"] = longhornSecret
		b.Secrets = append(b.Secrets, s3Secret(l.Backup))
	}
	b.file("longhorn", namespace(longhornSpace), b.chart("longhorn", longhornChart, longhornSpace, "abort", values))
	// The chart brings the kind: until it has, this file fails.
	var all []object
	for _, j := range jobs {
		all = append(all, j.object())
	}
	b.file(jobsFile, all...)
}

// s3Secret is named as Longhorn's documentation, "Setting a Backup Target", does.
func s3Secret(s *node.S3) node.Secret {
	return node.Secret{Namespace: longhornSpace, Name: longhornSecret, Data: map[string]secret.String{
		"AWS_ACCESS_KEY_ID": secret.String(s.AccessKey), "AWS_SECRET_ACCESS_KEY": s.SecretKey,
		"AWS_ENDPOINTS": secret.String(s.Endpoint), "VIRTUAL_HOSTED_STYLE": "false",
	}}
}

// job is a RecurringJob.
type job struct {
	name, task, cron string
	retain           int
	everyVolume      bool
	parameters       object
}

// recurring are done in the night's quiet hours, by the clock of the cluster
// (UTC), and a little after what others do at full hours. The system's backup names
// the last one of each volume, which is what comes back: so it follows theirs every
// night, and there are fewer of it, that none names what is gone. It makes none
// itself, as those leave a snapshot in the volume that no retain counts.
var recurring = []job{
	{"snapshot-hourly", "snapshot", "7 * * * *", 6, true, nil},
	{"trim-weekly", "filesystem-trim", "41 4 * * 0", 0, true, nil},
	{"backup-nightly", "backup", "23 2 * * *", 14, true, object{"full-backup-interval": "0"}},
	{"system-nightly", "system-backup", "11 5 * * *", 7, false, object{"volume-backup-policy": "disabled"}},
}

// localJobs of them need no bucket.
const localJobs = 2

func (j job) object() object {
	spec := object{"name": j.name, "task": j.task, "cron": j.cron, "retain": j.retain, "concurrency": 1}
	if j.everyVolume { // that has no jobs of its own
		spec["groups"] = []string{"default"}
	}
	if j.parameters != nil {
		spec["parameters"] = j.parameters
	}
	return object{"apiVersion": "longhorn.io/v1beta2", "kind": "RecurringJob", "metadata": object{"name": j.name, "namespace": longhornSpace}, "spec": spec}
}
