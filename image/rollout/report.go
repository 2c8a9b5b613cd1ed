package rollout

import (
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/inquiry"
)

// Report is what a node says.
type Report struct{ inquiry.Life }

const joined = contract.StateJoined

func (r Report) well() bool { return r.Well() }

// words are the node's own, for a person.
func (r Report) words() string {
	all := r.Words()
	switch {
	case r.Silent != "":
		return "it cannot be asked: " + r.Silent
	case r.State == "":
		return "it is offline"
	case r.Image != "" && r.Good != r.Slot:
		all = append(all, "slot "+r.Slot+" is still on trial")
	}
	if len(all) == 0 {
		return "it says that it is well"
	}
	return strings.Join(all, "; ")
}
