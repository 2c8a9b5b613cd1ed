package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"
)

type cronJob struct {
	Metadata struct {
		Namespace, Name   string
		CreationTimestamp time.Time
	}
	Spec   struct{ Suspend bool }
	Status struct{ LastScheduleTime, LastSuccessfulTime time.Time }
}

// jobs checks CronJobs, such as the nightly dump of a database. Nobody notices when they fail:
// Kubernetes just tries again the next night.
func (p *patient) jobs(ctx context.Context) {
	const group, check = "Cluster", "CronJobs succeed"
	all, ok := lookFor[cronJob](ctx, p, group, check, "/apis/batch/v1/cronjobs")
	if !ok {
		return
	}
	var late []string
	for _, job := range all {
		if since := job.fails(p.Clock.Now()); since > lateJob {
			late = append(late, fmt.Sprintf("%s/%s not for %d hours", job.Metadata.Namespace, job.Metadata.Name, int(since.Hours())))
		}
	}
	p.expect(len(late) == 0, Warning, group, check, strings.Join(late, ", ")+
		": kubectl get jobs -A lists the last tries, kubectl -n NAMESPACE logs job/NAME says why")
}

// fails returns for how long no run has succeeded, counted from the job's creation if none ever
// did. It returns 0 if no run was due since the last success, as for a weekly job in between.
func (job cronJob) fails(now time.Time) time.Duration {
	last := job.Status.LastSuccessfulTime
	if last.IsZero() {
		last = job.Metadata.CreationTimestamp
	}
	if job.Spec.Suspend || !job.Status.LastScheduleTime.After(last) {
		return 0
	}
	return now.Sub(last)
}
