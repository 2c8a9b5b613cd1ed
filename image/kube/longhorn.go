package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/ctxio"
)

// Storage is what Longhorn knows of a node: a record with the identity of its disk, and the
// replicas on it. While the record exists, Longhorn refuses any other disk of a node of that
// name (DiskFilesystemChanged).
type Storage struct {
	// Only lists replicas of volumes that have no healthy replica on another node, as
	// "REPLICA of VOLUME".
	Only []string

	replicas []string
	takes    bool // it accepts new replicas
}

type replica struct {
	Metadata meta
	Spec     struct{ NodeID, VolumeName, HealthyAt, FailedAt string }
}

// healthy is Longhorn's own definition (datastore, IsReplicaHealthy).
func (r replica) healthy() bool {
	return r.Spec.HealthyAt != "" && r.Spec.FailedAt == "" && r.Metadata.DeletionTimestamp == ""
}

// Storage returns what Longhorn knows of a node, nil if it has no record of it.
func (c *Client) Storage(ctx context.Context, name string) (*Storage, error) {
	var record struct {
		Spec struct{ AllowScheduling bool }
	}
	if err := c.get(ctx, storagePath(name), &record); err != nil {
		return nil, unlessNotFound(err)
	}
	var all list[replica]
	if err := c.get(ctx, contract.LonghornAPI+"replicas", &all); unlessNotFound(err) != nil {
		return nil, err
	}
	s := &Storage{takes: record.Spec.AllowScheduling}
	for _, r := range all.Items {
		if r.Spec.NodeID != name {
			continue
		}
		s.replicas = append(s.replicas, r.Metadata.Name)
		if !slices.ContainsFunc(all.Items, func(o replica) bool {
			return o.Spec.VolumeName == r.Spec.VolumeName && o.Spec.NodeID != name && o.healthy()
		}) {
			s.Only = append(s.Only, r.Metadata.Name+" of "+r.Spec.VolumeName)
		}
	}
	return s, nil
}

// forgetTime bounds how long Longhorn may take to notice that a node is gone, and to detach
// the volumes that were attached to it.
const forgetTime = 3 * time.Minute

// ForgetStorage removes Longhorn's record of a node that is no longer in Kubernetes. Longhorn's
// webhook refuses that for a node that accepts replicas or has some (longhorn-manager,
// webhook/resources/node), so scheduling is disabled and the replicas are deleted first. It
// fails, and deletes nothing, if a replica is the only healthy one. A missing record is no
// error.
func (c *Client) ForgetStorage(ctx context.Context, name string) error {
	waiting, cancel := context.WithTimeout(ctx, forgetTime)
	defer cancel()
	var last error
	for {
		gone, err := c.forgetStorage(waiting, name)
		if gone || errors.Is(err, errOnly) {
			return err
		}
		if last == nil || waiting.Err() == nil { // an attempt that was cut short has no answer of Longhorn's
			last = err
		}
		if ctxio.Sleep(waiting, time.Second) != nil {
			return errors.Join(last, ctx.Err())
		}
	}
}

var errOnly = errors.New("it has replicas that no other node has")

// forgetStorage makes one attempt. gone is true only once the record is seen to be missing.
func (c *Client) forgetStorage(ctx context.Context, name string) (gone bool, err error) {
	s, err := c.Storage(ctx, name)
	switch {
	case err != nil:
		return false, err
	case s == nil:
		return true, nil
	case len(s.Only) > 0:
		return false, fmt.Errorf("%w: %v", errOnly, s.Only)
	}
	if s.takes {
		patch := map[string]any{"spec": map[string]any{"allowScheduling": false}}
		if err := c.send(ctx, http.MethodPatch, storagePath(name), "application/merge-patch+json", patch); err != nil {
			return false, err
		}
	}
	for _, r := range s.replicas {
		if _, err := c.call(ctx, http.MethodDelete, contract.LonghornAPI+"replicas/"+url.PathEscape(r)); err != nil {
			return false, err
		}
	}
	if _, err := c.call(ctx, http.MethodDelete, storagePath(name)); err != nil {
		return false, err
	}
	return false, errors.New("it is deleted, and not gone yet")
}

func storagePath(name string) string { return contract.LonghornAPI + "nodes/" + url.PathEscape(name) }
