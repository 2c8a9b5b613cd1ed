package inquiry

import (
	"context"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/fleet"
)

// Examination is what a node's doctor found, "firstboot doctor".
type Examination struct {
	// Findings are what is not well.
	Findings []contract.Finding `json:"findings,omitempty"`
	// Silent says why there are none.
	Silent string `json:"silent,omitempty"`
}

// examineTime bounds all examinations: a server asks its cluster a dozen things,
// each for ten seconds at most.
const examineTime = 3 * time.Minute

// An unfit node ends with an error, and has told all the same.
const examination = contract.AskDoctor + "; true"

// Examine lets all of them look at themselves, and servers at their cluster.
func Examine(ctx context.Context, f *fleet.Fleet, subjects []Subject) []Examination {
	ctx, cancel := context.WithTimeout(ctx, examineTime)
	defer cancel()
	return inquire(ctx, f, subjects, examination, readExamination, func(why string) Examination { return Examination{Silent: why} })
}

// maxFindings of one node are told.
const maxFindings = 50

func readExamination(text []byte) (e Examination, err error) {
	all, err := contract.ParseFindings(text)
	if err != nil {
		return e, err
	}
	for _, f := range all {
		if f.Verdict != contract.OK && len(e.Findings) < maxFindings {
			e.Findings = append(e.Findings, contract.Finding{Group: plain(f.Group), Check: plain(f.Check), Verdict: contract.Verdict(plain(string(f.Verdict))), Detail: plain(f.Detail)})
		}
	}
	return e, nil
}
