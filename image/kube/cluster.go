package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// meta is the metadata of an object.
type meta struct {
	Name, Namespace, UID string
	DeletionTimestamp    string
	Annotations          map[string]string
	OwnerReferences      []struct {
		Kind       string
		Controller bool
	}
}

// condition is a condition in an object's status.
type condition struct{ Type, Status, Message string }

// list is a list of objects, as far as T has fields for them.
type list[T any] struct{ Items []T }

// Node is a node of the cluster.
type Node struct {
	Name string
	// Version is its k3s version, such as "v1.36.4+k3s1".
	Version string
	// Fault says why it is not ready, "" if it is.
	Fault string
	// VoteFault says why its etcd does not vote, "" if it does or has none.
	VoteFault string
	// Cordoned says that the node gets no new pods. Mark is the program that cordoned it, ""
	// for somebody else.
	Cordoned bool
	Mark     string
}

// mark is the annotation with the name of the program that cordoned a node. Only that
// program may uncordon the node.
const mark = "imagebuilder/cordoned-by"

// etcdVotes is a condition that k3s sets on nodes with etcd (pkg/etcd/etcd.go).
const etcdVotes = "EtcdIsVoter"

type nodeObject struct {
	Metadata meta
	Spec     struct{ Unschedulable bool }
	Status   struct {
		Conditions []condition
		NodeInfo   struct{ KubeletVersion string }
	}
}

func (o nodeObject) node() Node {
	n := Node{
		Name: o.Metadata.Name, Version: o.Status.NodeInfo.KubeletVersion,
		Cordoned: o.Spec.Unschedulable, Mark: o.Metadata.Annotations[mark], Fault: "the cluster has not heard of it",
	}
	for _, c := range o.Status.Conditions {
		fault := ""
		if c.Status != "True" {
			fault = cmp.Or(oneLine(c.Message), "the cluster calls it "+c.Type+": "+c.Status)
		}
		switch c.Type {
		case "Ready":
			n.Fault = fault
		case etcdVotes:
			n.VoteFault = fault
		}
	}
	return n
}

// Nodes lists the cluster's nodes.
func (c *Client) Nodes(ctx context.Context) (all []Node, err error) {
	var found list[nodeObject]
	if err := c.get(ctx, "/api/v1/nodes", &found); err != nil {
		return nil, err
	}
	for _, o := range found.Items {
		all = append(all, o.node())
	}
	return all, nil
}

// Node returns the node with that name, nil if the cluster has none.
func (c *Client) Node(ctx context.Context, name string) (*Node, error) {
	var o nodeObject
	err := c.get(ctx, nodePath(name), &o)
	if err != nil {
		return nil, unlessNotFound(err)
	}
	n := o.node()
	return &n, nil
}

// Cordon keeps new pods off a node, and marks the node with by. A node that is cordoned
// already keeps its mark. cordoned says whether the node is cordoned by by.
func (c *Client) Cordon(ctx context.Context, name, by string) (cordoned bool, err error) {
	var o nodeObject
	if err := c.get(ctx, nodePath(name), &o); err != nil {
		return false, err
	}
	if n := o.node(); n.Cordoned {
		return n.Mark == by, nil
	}
	return true, c.patchNode(ctx, name, true, by)
}

// Uncordon lets pods onto a node again if by has cordoned it; otherwise it changes nothing.
func (c *Client) Uncordon(ctx context.Context, name, by string) error {
	var o nodeObject
	if err := c.get(ctx, nodePath(name), &o); err != nil {
		return err
	}
	if o.node().Mark != by {
		return nil
	}
	return c.patchNode(ctx, name, false, nil)
}

// patchNode sends a JSON merge patch (RFC 7386), which removes fields that are null.
func (c *Client) patchNode(ctx context.Context, name string, cordoned bool, by any) error {
	patch := map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{mark: by}},
		"spec":     map[string]any{"unschedulable": cordoned},
	}
	return c.send(ctx, http.MethodPatch, nodePath(name), "application/merge-patch+json", patch)
}

// Volume is a Longhorn volume with a problem.
type Volume struct {
	// Name is NAMESPACE/NAME of its claim, which its owner knows, or Longhorn's name if it
	// has no claim.
	Name string
	// Robustness is Longhorn's term: degraded, faulted, or unknown if its node is away.
	Robustness string
}

// SickVolumes lists Longhorn's volumes that lack replicas or have none left. Detached
// volumes of unknown robustness are not listed. Without Longhorn there are none.
func (c *Client) SickVolumes(ctx context.Context) (sick []Volume, err error) {
	var found list[struct {
		Metadata meta
		Status   struct {
			State, Robustness string
			KubernetesStatus  struct{ Namespace, PVCName string }
		}
	}]
	err = unlessNotFound(c.get(ctx, contract.LonghornAPI+"volumes", &found))
	for _, v := range found.Items {
		name := v.Metadata.Name
		if k := v.Status.KubernetesStatus; k.PVCName != "" {
			name = k.Namespace + "/" + k.PVCName
		}
		if r := v.Status.Robustness; r == "degraded" || r == "faulted" || v.Status.State == "attached" && r != "healthy" {
			sick = append(sick, Volume{oneLine(name), r})
		}
	}
	return sick, err
}

// Pod is a pod on a node.
type Pod struct {
	Namespace, Name, UID string
	// Leaving says that the pod is being deleted.
	Leaving bool
	// Alone says that the pod has no controller, so nobody would create it again.
	Alone bool
}

func (p Pod) String() string { return p.Namespace + "/" + p.Name }

// mirrored is the annotation of a mirror pod, which represents a static pod of the kubelet.
const mirrored = "kubernetes.io/config.mirror"

// Pods lists the pods on a node that can move elsewhere: without pods that have ended,
// DaemonSets' pods, and mirror pods.
func (c *Client) Pods(ctx context.Context, node string) (all []Pod, err error) {
	var found list[struct {
		Metadata meta
		Status   struct{ Phase string }
	}]
	if err := c.get(ctx, "/api/v1/pods?fieldSelector="+url.QueryEscape("spec.nodeName="+node), &found); err != nil {
		return nil, err
	}
	for _, p := range found.Items {
		m, owner := p.Metadata, ""
		for _, o := range m.OwnerReferences {
			if o.Controller {
				owner = o.Kind
			}
		}
		_, mirror := m.Annotations[mirrored]
		if mirror || owner == "DaemonSet" || p.Status.Phase == "Succeeded" || p.Status.Phase == "Failed" {
			continue
		}
		all = append(all, Pod{m.Namespace, m.Name, m.UID, m.DeletionTimestamp != "", owner == ""})
	}
	slices.SortFunc(all, func(a, b Pod) int { return strings.Compare(a.String(), b.String()) })
	return all, nil
}

// Evict requests the eviction of a pod. The API refuses with 429 while a PodDisruptionBudget
// does not allow it (kubernetes.io, "API-initiated Eviction"). It is no error if the pod is
// gone. Another pod with the same name is not evicted.
func (c *Client) Evict(ctx context.Context, p Pod) error {
	path := fmt.Sprintf("/api/v1/namespaces/%s/pods/%s/eviction", url.PathEscape(p.Namespace), url.PathEscape(p.Name))
	err := c.send(ctx, http.MethodPost, path, "application/json", map[string]any{
		"apiVersion": "policy/v1", "kind": "Eviction",
		"metadata":      map[string]string{"namespace": p.Namespace, "name": p.Name},
		"deleteOptions": map[string]any{"preconditions": map[string]string{"uid": p.UID}},
	})
	var refused *Refusal
	if errors.As(err, &refused) && (refused.Status == http.StatusNotFound || refused.Status == http.StatusConflict) {
		return nil
	}
	return err
}

// get reads an object.
func (c *Client) get(ctx context.Context, path string, into any) error {
	data, err := c.exchange(ctx, http.MethodGet, path, "application/json", "", nil)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("the API's answer is not what was asked for: %w", err)
	}
	return nil
}

// send sends a request and ignores the answer's body.
func (c *Client) send(ctx context.Context, method, path, kind string, body any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	_, err = c.exchange(ctx, method, path, "application/json", kind, data)
	return err
}
