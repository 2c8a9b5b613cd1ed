package contract

// Where a node stands, in one word, as its status says it: "firstboot status --json", and
// its line on the serial console.
const (
	StateWorking     = "working"
	StateWaiting     = "waiting"
	StateNeedsPerson = "needs-person"
	StateJoined      = "joined"
)

// NeedsKey are the codes of the problems that a new key for the tailnet ends.
var NeedsKey = []string{"control-waits", "key-lost", "key-spent", "key-expired", "key-unknown"}
