package inquiry

import (
	"context"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/fleet"
)

// Examination is the result of "firstboot doctor" on a node.
type Examination struct {
	// Findings are the checks whose verdict is not "ok".
	Findings []contract.Finding `json:"findings,omitempty"`
	// Silent says why the node could not be examined, "" if it was.
	Silent string `json:"silent,omitempty"`
}

// examineTime bounds all examinations together. A server asks its cluster a dozen questions,
// each with a limit of ten seconds.
const examineTime = 3 * time.Minute

// The doctor exits with an error if it finds the node unfit, but has printed its findings:
// hence "true".
const examination = contract.AskDoctor + "; true"

// Examine has all nodes examine themselves at once; servers examine the cluster, too.
func Examine(ctx context.Context, f *fleet.Fleet, subjects []Subject) []Examination {
	ctx, cancel := context.WithTimeout(ctx, examineTime)
	defer cancel()
	return inquire(ctx, f, subjects, examination, readExamination, func(why string) Examination { return Examination{Silent: why} })
}

// maxFindings is the largest number of findings that are kept of one node.
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
