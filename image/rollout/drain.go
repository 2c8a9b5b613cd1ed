package rollout

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/kube"
)

// undoTime bounds the uncordoning of a node. It also applies after Ctrl-C.
const undoTime = time.Minute

// empty cordons a node and drains it. If that fails, the node is uncordoned again.
func (r *Rollout) empty(ctx context.Context, t Target) (notes []string, err error) {
	r.Say(t.Name, fmt.Sprintf("is drained, for %v at most", r.o.Drain))
	ours, err := r.world.Cordon(ctx, t.Name)
	if err == nil && !ours {
		notes = append(notes, "somebody else has cordoned it: it stays so")
	}
	var alone []string
	if err == nil {
		alone, err = r.drain(ctx, t.Name)
	}
	if err != nil { // even if cordoning failed: it may have been done all the same
		return nil, errors.Join(fmt.Errorf("it is not drained: %w", err), r.release(ctx, t))
	}
	if len(alone) > 0 {
		notes = append(notes, "restarted with it, as nobody would make them again: "+strings.Join(alone, ", "))
	}
	return notes, nil
}

// release uncordons a node that did not restart.
func (r *Rollout) release(ctx context.Context, t Target) error {
	if !t.inCluster() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	if err := r.world.Uncordon(ctx, t.Name); err != nil {
		return fmt.Errorf("nor is it uncordoned (kubectl uncordon %s): %w", t.Name, err)
	}
	r.Say(t.Name, "is uncordoned again; it tries the update when it restarts")
	return nil
}

// evictPause is the pause between attempts. A disruption budget allows the next eviction
// only once an evicted pod runs elsewhere.
const evictPause = 5 * time.Second

// drain evicts the node's pods until none is left that can leave. alone are the pods that
// stay.
func (r *Rollout) drain(ctx context.Context, name string) (alone []string, err error) {
	err = r.every(ctx, evictPause, r.o.Drain, func() ([]string, error) {
		var left []string
		alone, left = r.sweep(ctx, name)
		return left, ctx.Err()
	})
	return alone, err
}

// sweep tries to evict every pod of the node once, and returns those that are still there
// (left). Pods without a controller (alone) are not evicted, because nobody would create
// them again: they stay, and start again with the node.
func (r *Rollout) sweep(ctx context.Context, name string) (alone, left []string) {
	pods, err := r.world.Pods(ctx, name)
	if err != nil {
		return nil, []string{"the cluster: " + err.Error()}
	}
	for _, p := range pods {
		switch {
		case p.Alone:
			alone = append(alone, p.String())
		case p.Leaving:
			left = append(left, p.String()+" is ending")
		default:
			left = append(left, p.String()+" "+r.evict(ctx, p))
		}
	}
	return alone, left
}

// evict asks the API to evict a pod, and describes the result. A disruption budget refuses
// an eviction with status 429; a pod with two budgets is refused with 500.
func (r *Rollout) evict(ctx context.Context, p kube.Pod) string {
	err := r.world.Evict(ctx, p)
	var refused *kube.Refusal
	switch {
	case errors.As(err, &refused):
		return "may not go: " + refused.Words + remedy(p)
	case err != nil:
		return "is not asked to go: " + err.Error()
	}
	return "is asked to go"
}

// remedy is for Longhorn's own budget: by default it keeps the instance manager of a node that
// has the only healthy replica of a volume, for ever if the volume has no more than one
// (Longhorn's setting node-drain-policy).
func remedy(p kube.Pod) string {
	if p.Namespace != contract.LonghornSpace || !strings.HasPrefix(p.Name, "instance-manager-") {
		return ""
	}
	return " It has the only replica of a volume, or a volume is still in use: if that does not end by itself, 'update NODE --reboot --no-drain' restarts one node with its pods"
}
