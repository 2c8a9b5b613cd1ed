package contract

import (
	"encoding/json"
	"errors"
	"time"
)

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

// Status is what a builder reads of a node's answer to AskStatus. The node writes more
// (firstboot.Status); fields that an older node does not write are empty.
type Status struct {
	State   string    `json:"state"`
	Program string    `json:"program"` // version of firstboot
	Slot    string    `json:"slot"`    // that it runs from, a or b
	Image   string    `json:"image"`   // version of the image that runs
	Made    time.Time `json:"made"`    // of the newest index of Debian in it
	Good    string    `json:"good"`    // the slot that starts when no trial is under way
	Trial   string    `json:"trial"`   // the slot on trial
	Tries   int       `json:"tries"`   // that Trial has left
	Problem Trouble   `json:"problem"` // what keeps the node from being joined
	Notice  Trouble   `json:"notice"`  // wrong, but not in the way
}

// ParseStatus reads an answer to AskStatus.
func ParseStatus(answer []byte) (s Status, err error) {
	if err := json.Unmarshal(answer, &s); err != nil || s.State == "" {
		return s, errors.New("the answer is no status")
	}
	return s, nil
}

// Trouble is a fault in words. All three are empty where there is none.
type Trouble struct {
	Code    string `json:"code"`
	Summary string `json:"summary"`
	Remedy  string `json:"remedy"`
}

// Verdict is the result of a check.
type Verdict string

// The verdicts. Only a Failure makes the node unfit. Unknown means that this machine
// could not tell.
const (
	OK      Verdict = "ok"
	Unknown Verdict = "unknown"
	Warning Verdict = "warning"
	Failure Verdict = "FAILED"
)

// Finding is the outcome of one check of the node's doctor.
type Finding struct {
	Group   string  `json:"group"`
	Check   string  `json:"check"`
	Verdict Verdict `json:"verdict"`
	Detail  string  `json:"detail,omitempty"`
}

// ParseFindings reads an answer to AskDoctor.
func ParseFindings(answer []byte) (all []Finding, err error) {
	if err := json.Unmarshal(answer, &all); err != nil || len(all) == 0 {
		return nil, errors.New("the answer is no examination: its image is older")
	}
	return all, nil
}

// Preview is what would become of a node.yaml that the owner signed.
type Preview struct {
	// InForce says that the node works by this very file.
	InForce bool `json:"inForce"`
	// Fields are those that differ from what is in force. Secrets for the cluster (k3s:
	// seed: secrets:) are not compared: the node keeps no copy of them.
	Fields []string `json:"fields,omitempty"`
	// Steps are those that the file gives something to do; if it is in force, those not
	// done yet.
	Steps []string `json:"steps,omitempty"`
	// Charts are those of the cluster that change to another file, which is another version.
	Charts []ChartChange `json:"charts,omitempty"`
}

// ChartChange are the names of a chart's old and new file.
type ChartChange struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// ParsePreview reads an answer to AskPreview.
func ParsePreview(answer []byte) (p Preview, err error) {
	var said struct{ InForce *bool }
	if err := errors.Join(json.Unmarshal(answer, &said), json.Unmarshal(answer, &p)); err != nil || said.InForce == nil {
		return p, errors.New("the answer tells of no node.yaml: its image is older than this is")
	}
	return p, nil
}
