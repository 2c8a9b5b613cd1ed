package rollout

import (
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/inquiry"
)

// Report is what a node says about itself.
type Report struct{ inquiry.Life }

const joined = contract.StateJoined
