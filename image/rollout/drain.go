package rollout

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/image/kube"
)

// undoTime is what there is for uncordoning, also after Ctrl-C.
const undoTime = time.Minute

// empty cordons a node and has its pods go elsewhere. Where that fails the node is
// uncordoned again.
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
	if err != nil { // also of cordoning: who knows whether it was done
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

// evictPause is between tries, as a budget is whole again when a pod has come up
// elsewhere.
const evictPause = 5 * time.Second

// drain evicts again and again what is still there.
func (r *Rollout) drain(ctx context.Context, name string) (alone []string, err error) {
	err = r.every(ctx, evictPause, r.o.Drain, func() ([]string, error) {
		var left []string
		alone, left = r.sweep(ctx, name)
		return left, ctx.Err()
	})
	return alone, err
}

// sweep asks all pods to go that can, and says which are still there. Those that
// nobody would make again stay, and start with the node: to evict them is to lose
// them.
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

// evict asks for a pod to go, and says what comes of it. A budget stands against it
// with 429, two of them with 500.
func (r *Rollout) evict(ctx context.Context, p kube.Pod) string {
	err := r.world.Evict(ctx, p)
	var refused *kube.Refusal
	switch {
	case errors.As(err, &refused):
		return "may not go: " + refused.Words
	case err != nil:
		return "is not asked to go: " + err.Error()
	}
	return "is asked to go"
}
