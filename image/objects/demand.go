package objects

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Demand is what the pods of a workload request from the nodes that they run on.
type Demand struct {
	Name string // NAMESPACE/NAME
	// Pods is how many pods there are; 0 means one on every node.
	Pods int
	// CPU and Memory are each pod's requests, in thousandths of a processor and in bytes.
	// Limit is its memory limit in bytes, 0 for none.
	CPU, Memory, Limit int64
}

// Demands lists the workloads with pods among objects. A CronJob counts as one pod, as its
// jobs take turns.
func Demands(all []Object) ([]Demand, error) {
	var out []Demand
	for _, o := range all {
		template, pods := podsOf(o)
		if template == nil {
			continue
		}
		d := Demand{Name: strings.TrimPrefix(o.Namespace+"/"+o.Name, "/"), Pods: pods}
		if err := d.sum(at(template, "spec")); err != nil {
			return nil, fmt.Errorf("%s %s: %w", o.Kind, d.Name, err)
		}
		out = append(out, d)
	}
	return out, nil
}

// podsOf returns the template and the number of a workload's pods; 0 means one on every node
// (a DaemonSet). The template is nil for other kinds, and for a workload with 0 replicas.
func podsOf(o Object) (template map[string]any, pods int) {
	spec := at(o.Value, "spec")
	switch o.Kind {
	case "Deployment", "StatefulSet":
		switch n, ok := spec["replicas"].(int); {
		case ok && n == 0:
			return nil, 0
		case ok:
			return at(spec, "template"), n
		}
		return at(spec, "template"), 1
	case "DaemonSet":
		return at(spec, "template"), 0
	case "Job":
		return at(spec, "template"), 1
	case "CronJob":
		return at(spec, "jobTemplate", "spec", "template"), 1
	case "Pod":
		return o.Value, 1
	}
	return nil, 0
}

// Claim is a volume that is requested.
type Claim struct {
	Name string // NAMESPACE/NAME
	Size int64  // bytes
}

// Storage lists the claims for a storage class, which is taken to be the default class.
func Storage(all []Object, class string) (found []Claim, err error) {
	for _, o := range all {
		for _, claim := range claimsOf(o) {
			spec := at(claim, "spec")
			if c, given := spec["storageClassName"]; given && c != class {
				continue
			}
			n, err := quantity(at(spec, "resources", "requests")["storage"], 1)
			if err != nil {
				return nil, fmt.Errorf("%s %s: storage: %w", o.Kind, strings.TrimPrefix(o.Namespace+"/"+o.Name, "/"), err)
			}
			name := o.Name
			if o.Kind == "StatefulSet" { // the claim's name also gets the pod's number
				name = fmt.Sprintf("%v-%s", at(claim, "metadata")["name"], o.Name)
			}
			found = append(found, Claim{strings.TrimPrefix(o.Namespace+"/"+name, "/"), n})
		}
	}
	return found, nil
}

// claimsOf lists the claims that an object is, or creates, one for each pod.
func claimsOf(o Object) (all []map[string]any) {
	if o.Kind == "PersistentVolumeClaim" {
		return []map[string]any{o.Value}
	}
	templates, _ := at(o.Value, "spec")["volumeClaimTemplates"].([]any)
	_, pods := podsOf(o)
	for range pods {
		for _, t := range templates {
			claim, _ := t.(map[string]any)
			all = append(all, claim)
		}
	}
	return all
}

func at(value map[string]any, keys ...string) map[string]any {
	for _, k := range keys {
		value, _ = value[k].(map[string]any)
	}
	return value
}

// sum is what the scheduler reserves (kubernetes.io, "Resource sharing within containers"):
// the sum of all containers that run at once, including sidecars among the init containers,
// or the largest other init container, whichever is more.
func (d *Demand) sum(spec map[string]any) error {
	var cpu, memory, initCPU, initMemory int64
	bounded := true
	for _, list := range []string{"containers", "initContainers"} {
		containers, _ := spec[list].([]any)
		for _, c := range containers {
			container, _ := c.(map[string]any)
			r, err := resourcesOf(container)
			if err != nil {
				return err
			}
			if list == "initContainers" && container["restartPolicy"] != "Always" {
				initCPU, initMemory = max(initCPU, r.CPU), max(initMemory, r.Memory)
				continue
			}
			cpu, memory = cpu+r.CPU, memory+r.Memory
			d.Limit, bounded = d.Limit+r.Limit, bounded && r.Limit > 0
		}
	}
	if !bounded {
		d.Limit = 0
	}
	d.CPU, d.Memory = max(cpu, initCPU), max(memory, initMemory)
	return nil
}

// resourcesOf reads a container's resources. A limit without a request counts as the
// request, too.
func resourcesOf(container map[string]any) (r Demand, err error) {
	requests, limits := at(container, "resources", "requests"), at(container, "resources", "limits")
	get := func(from map[string]any, key string, scale float64) (n int64) {
		if v, ok := from[key]; ok && err == nil {
			n, err = quantity(v, scale)
		}
		return n
	}
	r.CPU, r.Memory, r.Limit = get(requests, "cpu", 1000), get(requests, "memory", 1), get(limits, "memory", 1)
	if _, given := requests["memory"]; !given {
		r.Memory = r.Limit
	}
	if _, given := requests["cpu"]; !given {
		r.CPU = get(limits, "cpu", 1000)
	}
	return r, err
}

// suffixes are a quantity's suffixes: kubernetes.io, "Quantity".
var suffixes = []struct {
	name  string
	value float64
}{
	{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1 << 40},
	{"m", 1e-3}, {"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12},
}

// quantity reads a quantity such as 500m, 1.5 or 2Gi, in units of 1/scale.
func quantity(v any, scale float64) (int64, error) {
	text := fmt.Sprint(v)
	number, factor := text, 1.0
	for _, s := range suffixes {
		if n, ok := strings.CutSuffix(text, s.name); ok {
			number, factor = n, s.value
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if n *= factor * scale; err != nil || !(n >= 0 && n < math.MaxInt64/2) {
		return 0, fmt.Errorf("a quantity like 500m or 2Gi is wanted")
	}
	return int64(math.Ceil(n)), nil
}
