package contract

import (
	"fmt"
	"strings"
	"time"
)

// Commands that a builder gives a node over ssh. Answers are on standard output, as JSON.
const (
	AskStatus    = "firstboot status --json"            // answered with a Status
	AskDoctor    = "firstboot doctor --json"            // answered with a list of Findings; an unfit node exits with an error as well
	AskPreview   = "firstboot offer --try"              // node.yaml on standard input; answered with a Preview
	TellOffer    = "firstboot offer"                    // node.yaml on standard input
	TellKey      = "firstboot key"                      // a key for the tailnet on standard input
	TellRollback = "firstboot update --json --rollback" // answered with an UpdateResult
)

// AskUpdate asks what became of the update with a digest, and is answered with an
// UpdateProgress.
func AskUpdate(id string) string { return "firstboot update --id " + id }

// TellUpdate is given with an update on standard input, without the first bytes, which the
// node has. It is answered with an UpdateResult.
func TellUpdate(id string, have int64) string {
	return fmt.Sprintf("firstboot update --json --id %s --from %d -", id, have)
}

// AskUnlock asks a holder whether a node waits for its owner's word, and is answered with a
// vault.Asking.
func AskUnlock(node string) string { return "firstboot unlock " + node }

// TellUnlock gives that word for the request that has waited since then.
func TellUnlock(node string, since time.Time) string {
	return "firstboot unlock --since " + since.Format(time.RFC3339) + " " + node
}

// TellRevoke has a holder refuse a node its share for ever, and its members by their
// numbers; with only, these members alone.
func TellRevoke(node string, numbers []string, only bool) string {
	words := []string{"firstboot", "revoke"}
	if only {
		words = append(words, "--only")
	}
	return strings.Join(append(append(words, node), numbers...), " ")
}
