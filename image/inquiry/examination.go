package inquiry

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/going-mobile/imagebuilder/image/fleet"
)

// Examination is the result of "firstboot doctor" on a node.
type Examination struct {
	// Findings are the checks whose verdict is not "ok".
	Findings []Finding `json:"findings,omitempty"`
	// Silent says why the node could not be examined, "" if it was.
	Silent string `json:"silent,omitempty"`
}

// Finding is the result of one check, in the doctor's words.
type Finding struct {
	Group   string `json:"group"`
	Check   string `json:"check"`
	Verdict string `json:"verdict"`
	Detail  string `json:"detail"`
}

// examineTime bounds all examinations together. A server asks its cluster a dozen questions,
// each with a limit of ten seconds.
const examineTime = 3 * time.Minute

// The doctor exits with an error if it finds the node unfit, but has printed its findings:
// hence "true".
const examination = "firstboot doctor --json; true"

// Examine has all nodes examine themselves at once; servers examine the cluster, too.
func Examine(ctx context.Context, f *fleet.Fleet, subjects []Subject) []Examination {
	ctx, cancel := context.WithTimeout(ctx, examineTime)
	defer cancel()
	return inquire(ctx, f, subjects, examination, readExamination, func(why string) Examination { return Examination{Silent: why} })
}

// maxFindings is the largest number of findings that are kept of one node.
const maxFindings = 50

func readExamination(text []byte) (e Examination, err error) {
	var all []Finding
	if err := json.Unmarshal(text, &all); err != nil || len(all) == 0 {
		return e, errors.New("the answer is no examination: its image is older")
	}
	for _, f := range all {
		if f.Verdict != "ok" && len(e.Findings) < maxFindings {
			e.Findings = append(e.Findings, Finding{plain(f.Group), plain(f.Check), plain(f.Verdict), plain(f.Detail)})
		}
	}
	return e, nil
}
