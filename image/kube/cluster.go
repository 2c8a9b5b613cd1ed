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
)

// meta is what all objects have.
type meta struct {
	Name, Namespace, UID string
	DeletionTimestamp    string
	Annotations          map[string]string
	OwnerReferences      []struct {
		Kind       string
		Controller bool
	}
}

// condition is one of an object's status.
type condition struct{ Type, Status, Message string }

// list is a list of objects, as far as T has fields for them.
type list[T any] struct{ Items []T }

// Node is one of the cluster's.
type Node struct {
	Name string
	// Version is of its k3s, "v1.36.4+k3s1".
	Version string
	// Fault says why it is not ready, "" if it is.
	Fault string
	// VoteFault says why its etcd does not vote, "" if it does or has none.
	VoteFault string
	// Cordoned nodes get no new pods, by whom their mark says, "" for somebody else.
	Cordoned bool
	Mark     string
}

// mark is where a node has the name of the program that cordoned it: who did not
// may not undo it.
const mark = "imagebuilder/cordoned-by"

// etcdVotes is a condition that k3s gives to nodes with etcd (pkg/etcd/etcd.go).
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

// Node tells of one of them, nil where the cluster has none of that name.
func (c *Client) Node(ctx context.Context, name string) (*Node, error) {
	var o nodeObject
	err := c.get(ctx, nodePath(name), &o)
	if err != nil {
		return nil, unlessNotFound(err)
	}
	n := o.node()
	return &n, nil
}

// Cordon keeps new pods from a node, and marks it by whom. One that is cordoned
// already stays whose it is: cordoned tells whether it is by's.
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

// Uncordon lets pods come to a node again that by has cordoned; another one stays as
// it is.
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

// patchNode is a JSON merge patch (RFC 7386), which removes what is null.
func (c *Client) patchNode(ctx context.Context, name string, cordoned bool, by any) error {
	patch := map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{mark: by}},
		"spec":     map[string]any{"unschedulable": cordoned},
	}
	return c.send(ctx, http.MethodPatch, nodePath(name), "application/merge-patch+json", patch)
}

// Volume is one of Longhorn's that lacks something.
type Volume struct {
	// Name is the claim's, which is what its owner knows.
	Name string
	// Robustness is Longhorn's word: degraded, faulted, or unknown where its node is
	// away.
	Robustness string
}

// SickVolumes lists Longhorn's volumes that lack a replica or have none left. What
// nobody uses is of unknown health, and not among them; nor is anything where there
// is no Longhorn.
func (c *Client) SickVolumes(ctx context.Context) (sick []Volume, err error) {
	var found list[struct {
		Metadata meta
		Status   struct {
			State, Robustness string
			KubernetesStatus  struct{ Namespace, PVCName string }
		}
	}]
	err = unlessNotFound(c.get(ctx, longhorn+"volumes", &found))
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

// Pod is one that runs on a node.
type Pod struct {
	Namespace, Name, UID string
	// Leaving pods are being deleted.
	Leaving bool
	// Alone is one that nobody would make again.
	Alone bool
}

func (p Pod) String() string { return p.Namespace + "/" + p.Name }

// mirrored marks the shadow of a pod that a kubelet starts by itself.
const mirrored = "kubernetes.io/config.mirror"

// Pods lists those on a node that can go elsewhere: not those that have ended, nor
// those of DaemonSets, nor the shadows of a kubelet's own.
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

// Evict asks for a pod to go. The API refuses with 429 while a PodDisruptionBudget
// stands against it (kubernetes.io, "API-initiated Eviction"). A pod that is gone is
// no error, and another one of its name is left alone.
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

// send has the API do something, and does not look at what it answers.
func (c *Client) send(ctx context.Context, method, path, kind string, body any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	_, err = c.exchange(ctx, method, path, "application/json", kind, data)
	return err
}
