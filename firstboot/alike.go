package firstboot

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// compareServers makes a notice if another server of the cluster runs with
// other settings than this one, where k3s or etcd wants them alike: nothing
// else says so, and the cluster works on until a disk is slow. It must not be
// more than a notice, or the update of a single server would be rolled back.
func (m *machine) compareServers(ctx context.Context) {
	if m.cfg.Role != node.Server || m.notice != nil {
		return
	}
	// A cached answer of any age will do: it costs etcd nothing.
	out, err := m.Net.API(ctx, adminConf, "/api/v1/nodes?resourceVersion=0")
	if err == nil {
		m.notice = unlike(out, m.cfg.Node)
	}
}

// unlike compares the servers in a NodeList of the Kubernetes API (core/v1), by
// k3s' annotations.
func unlike(list []byte, own string) *Problem {
	var nodes struct {
		Items []struct {
			Metadata struct {
				Name        string
				Annotations map[string]string
			}
		}
	}
	if json.Unmarshal(list, &nodes) != nil {
		return nil
	}
	alike := map[string]map[string]string{}
	for _, n := range nodes.Items {
		flags, err := node.ParseArgs(n.Metadata.Annotations["k3s.io/node-args"])
		if err != nil || flags == nil {
			continue
		}
		alike[n.Metadata.Name] = flags.Alike()
	}
	mine := alike[own] // empty until k3s has published it
	for _, other := range slices.Sorted(maps.Keys(alike)) {
		var differ []string
		for _, name := range node.Unlike(mine, alike[other]) {
			differ = append(differ, fmt.Sprintf("%s is %s there and %s here", name, alike[other][name], mine[name]))
		}
		if len(differ) > 0 {
			return problem("servers-unlike", other, strings.Join(differ, ", "))
		}
	}
	return nil
}
