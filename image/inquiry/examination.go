package inquiry

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/going-mobile/imagebuilder/image/fleet"
)

// Examination is what a node's doctor found, "firstboot doctor".
type Examination struct {
	// Findings are what is not well.
	Findings []Finding `json:"findings,omitempty"`
	// Silent says why there are none.
	Silent string `json:"silent,omitempty"`
}

// Finding is one of them, in the doctor's words.
type Finding struct {
	Group   string `json:"group"`
	Check   string `json:"check"`
	Verdict string `json:"verdict"`
	Detail  string `json:"detail"`
}

// examineTime bounds all examinations: a server asks its cluster a dozen things,
// each for ten seconds at most.
const examineTime = 3 * time.Minute

// An unfit node ends with an error, and has told all the same.
const examination = "firstboot doctor --json; true"

// Examine lets all of them look at themselves, and servers at their cluster.
func Examine(ctx context.Context, f *fleet.Fleet, subjects []Subject) []Examination {
	ctx, cancel := context.WithTimeout(ctx, examineTime)
	defer cancel()
	return inquire(ctx, f, subjects, examination, readExamination, func(why string) Examination { return Examination{Silent: why} })
}

// maxFindings of one node are told.
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
