package contract

// The state of a node in one word, as it is in "firstboot status --json" and in the status
// line on the serial console.
const (
	StateWorking     = "working"
	StateWaiting     = "waiting"
	StateNeedsPerson = "needs-person"
	StateJoined      = "joined"
)

// NeedsKey are the codes of the problems that a new tailnet key solves.
var NeedsKey = []string{"control-waits", "key-lost", "key-spent", "key-expired", "key-unknown"}
