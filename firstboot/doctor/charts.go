package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// charts checks those that k3s installs. A chart with failurePolicy abort, as Longhorn's
// must have, is left alone when its installation failed or power was cut during it: the
// controller waits for a person, and nothing else says so (docs.k3s.io, "HelmChart",
// condition Failed).
func (p *patient) charts(ctx context.Context) {
	const group, check = "Cluster", "charts are installed"
	type chart struct {
		Metadata meta
		Spec     struct{ TargetNamespace string }
		Status   struct {
			Conditions []struct{ Type, Status string }
		}
	}
	all, ok := lookFor[chart](ctx, p, group, check, "/apis/helm.cattle.io/v1/namespaces/kube-system/helmcharts")
	if !ok {
		return
	}
	var faults []string
	for _, c := range all {
		failed, name := false, c.Metadata.Name
		for _, condition := range c.Status.Conditions {
			failed = failed || condition.Type == "Failed" && condition.Status == "True"
		}
		switch {
		case failed:
			faults = append(faults, fmt.Sprintf(chartFailed, name, c.Spec.TargetNamespace))
		case name == "longhorn" && p.noLonghorn(ctx):
			faults = append(faults, "longhorn is not there, so no volume is. Where the cluster is older than half an hour, kubectl -n kube-system logs job/helm-install-longhorn says why")
		}
	}
	p.expect(len(faults) == 0, Warning, group, check, strings.Join(faults, "; "))
}

// chartFailed says how to begin again: Helm adopts what it has created before.
const chartFailed = "%[1]s failed, and is not tried again: kubectl -n kube-system logs job/helm-install-%[1]s says why. When that is mended: " +
	"kubectl -n %[2]s delete secret -l 'owner=helm,name=%[1]s,status in (failed,pending-install,pending-upgrade)'; kubectl -n kube-system delete job helm-install-%[1]s"

func (p *patient) noLonghorn(ctx context.Context) bool {
	_, err := p.Net.API(ctx, adminConf, contract.LonghornAPI+"nodes")
	return errors.Is(err, firstboot.ErrNoObject)
}
