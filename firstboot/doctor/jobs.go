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

// jobs by the clock fail without a word, the dump of a database among them: Kubernetes
// tries again the next night.
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

// fails is for how long none has succeeded, 0 where none was due after the last that did:
// one of a week is not late in between. Of one that never did it is its age.
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
