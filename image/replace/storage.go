package replace

import (
	"context"
	"fmt"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// Remains is the error of a removal that succeeded except for Longhorn's record of the node.
type Remains struct {
	node  string
	cause error
}

func (r *Remains) Error() string {
	return fmt.Sprintf("Longhorn keeps its record of %s, and refuses the new one's disk as long as it does: %v\nBefore the new one is switched on, say:\n%s",
		r.node, r.cause, forgetByHand(r.node))
}

func (r *Remains) Unwrap() error { return r.cause }

// forgetsStorage reports whether Longhorn has a record that can be removed without losing the
// only replica of a volume.
func (l *Leave) forgetsStorage() bool { return l.storage != nil && len(l.storage.Only) == 0 }

func (l *Leave) forgetStorage(ctx context.Context) error {
	if !l.forgetsStorage() {
		return nil
	}
	if err := l.cluster.ForgetStorage(ctx, l.name); err != nil {
		return &Remains{l.name, err}
	}
	return nil
}

// onlyReplicas says what to do if Longhorn's record stays, because the node's disk may still be
// good and have the only replica of a volume. It returns "" if the record does not stay.
func (l *Leave) onlyReplicas() string {
	if l.storage == nil || len(l.storage.Only) == 0 {
		return ""
	}
	again := ""
	if l.node.Longhorn.Disk != (node.Disk{}) && !l.fleet.Encrypts(l.name) {
		again = fmt.Sprintf("With its old disk for volumes (%s) the new %s has them again. ", l.node.Longhorn.Disk, l.name)
	}
	return fmt.Sprintf("Longhorn's record of %[1]s stays, as no other node has a healthy replica: %[2]s. %[3]s"+
		"Any other disk it refuses there, until it has forgotten the old one; what only that had is lost then, but for backups. Say so, where kubectl does, before the new %[1]s is switched on:\n%[4]s",
		l.name, strings.Join(l.storage.Only, ", "), again, forgetByHand(l.name))
}
