package seed

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/image/objects"
)

const (
	longhornSecret = "longhorn-s3"
	jobsFile       = "longhorn-jobs"
)

var (
	//go:embed longhorn.yaml
	longhornValues []byte
	//go:embed storageclass.yaml
	storageClass []byte
)

// LonghornCPU is the part of a node's processors, in percent, that these values reserve for
// Longhorn's engines.
const LonghornCPU = 12

// Longhorn is the cluster's storage.
type Longhorn struct {
	// Replicas of each volume.
	Replicas int
	// Sites is how many sites have disks for volumes. With one, a volume's replicas share
	// it.
	Sites  int
	Backup *node.S3
}

func (b *builder) longhorn(l *Longhorn) {
	values := b.defaults("longhorn.yaml", longhornValues)
	if b.err != nil {
		return
	}
	settings := under(values, "defaultSettings")
	settings["defaultReplicaCount"] = fmt.Sprintf(`{"v1":"%[1]d","v2":"%[1]d"}`, l.Replicas) // a JSON text: one value per data engine
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
	b.file("longhorn", namespace(contract.LonghornSpace), b.class(l.Replicas), b.chart("longhorn", longhornChart, contract.LonghornSpace, "abort", values))
	// The chart defines RecurringJob. k3s retries this file until it has.
	var all []object
	for _, j := range jobs {
		all = append(all, j.object())
	}
	b.file(jobsFile, all...)
}

// class is the ConfigMap from which Longhorn makes its class, and makes it anew when the text
// changes (longhorn-manager, kubernetes_configmap_controller.go): the parameters of a class
// are immutable, so k3s could not apply a class with another number of replicas. The chart
// had this ConfigMap before, and the annotation keeps Helm from deleting it with the release
// that no longer has it.
func (b *builder) class(replicas int) object {
	class := b.defaults("storageclass.yaml", storageClass)
	if b.err != nil {
		return nil
	}
	under(class, "parameters")["numberOfReplicas"] = strconv.Itoa(replicas)
	text, err := yaml.Marshal(class)
	if err == nil {
		_, err = objects.Parse("storageclass.yaml", text)
	}
	b.err = err
	return object{"apiVersion": "v1", "kind": "ConfigMap", "metadata": object{
		"name": "longhorn-storageclass", "namespace": contract.LonghornSpace, "annotations": object{"helm.sh/resource-policy": "keep"},
	}, "data": object{"storageclass.yaml": string(text)}}
}

// s3Secret has the keys that Longhorn's documentation, "Setting a Backup Target", requires.
func s3Secret(s *node.S3) node.Secret {
	return node.Secret{Namespace: contract.LonghornSpace, Name: longhornSecret, Data: map[string]secret.String{
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

// recurring jobs run at quiet hours of the night, by the cluster's clock (UTC), and a few
// minutes off the full hours, when others run. The system backup records the latest backup
// of each volume, and that one is what a restore brings back. So it runs every night after
// the volumes' backups, and fewer of it are kept, so that none refers to a backup that is
// gone. It makes no volume backups itself, as those would leave a snapshot in the volume
// that no retain counts.
var recurring = []job{
	{"snapshot-hourly", "snapshot", "7 * * * *", 6, true, nil},
	{"trim-weekly", "filesystem-trim", "41 4 * * 0", 0, true, nil},
	{"backup-nightly", "backup", "23 2 * * *", 14, true, object{"full-backup-interval": "0"}},
	{"system-nightly", "system-backup", "11 5 * * *", 7, false, object{"volume-backup-policy": "disabled"}},
}

// localJobs is how many of the first jobs need no bucket.
const localJobs = 2

func (j job) object() object {
	spec := object{"name": j.name, "task": j.task, "cron": j.cron, "retain": j.retain, "concurrency": 1}
	if j.everyVolume { // and thereby all volumes that have no jobs of their own
		spec["groups"] = []string{"default"}
	}
	if j.parameters != nil {
		spec["parameters"] = j.parameters
	}
	return object{"apiVersion": "longhorn.io/v1beta2", "kind": "RecurringJob", "metadata": object{"name": j.name, "namespace": contract.LonghornSpace}, "spec": spec}
}
