package disks

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/going-mobile/imagebuilder/firstboot/disks/ptable"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// Want says which disk a node wants, and for what.
type Want struct {
	Purpose Purpose
	Spec    node.Disk // from node.yaml
	Node    string    // the node's name
	// Known is the ID of the disk that the node uses already; no other disk takes its
	// place. "" means that it has none yet.
	Known string
	// Taken are the kernel's names of disks with another use, such as the boot disk.
	Taken []string
	// Early means that disks on slower buses may still appear. Then a pattern must wait,
	// as a second disk may fit it, and so must a known disk, as there may be a copy of
	// it.
	Early bool
	// Hidden is how many disks the firmware hides: a missing disk may be one of them.
	Hidden int
}

// choice is a disk that may be used, and what is on it.
type choice struct {
	Disk
	content
}

// choose finds the one disk that is wanted, or returns a *Fault. look tells what is on a
// disk. Nothing is written.
func choose(all []Disk, w Want, look func(Disk) (content, error)) (choice, error) {
	if w.Known == "" {
		return chooseNew(all, w, look)
	}
	same := filter(all, func(d Disk) bool { return isOwn(d.Table, w.Purpose) && d.Table.ID == w.Known })
	switch len(same) {
	case 1:
		return choice{same[0], content{state: made, id: w.Known}}, w.judgeKnown(same[0])
	case 0:
		return choice{}, missing(all, w, look)
	}
	return choice{}, w.fault(Several, "%s is there more than once: somebody copied it.", "Unplug the copy.", same...)
}

// judgeKnown refuses the node's own disk if it must be left as it is for now.
func (w Want) judgeKnown(d Disk) error {
	switch {
	case w.Early:
		return w.fault(Absent, "Whether %s is there only once is not known yet.", w.plugIn(), d)
	case errors.Is(d.Err, ptable.ErrTooShort):
		return w.fault(Small, "%s was copied to a smaller one, which cannot hold all of it.", "Plug in the disk that it was copied from, or copy that to one at least as large.", d).because(d.Err)
	case d.Err != nil:
		return w.fault(Unreadable, "The table of partitions on %s is damaged.", "Check its cable and power. Do not format anything: an expert may mend it.", d).because(d.Err)
	case d.ReadOnly:
		return w.wornOut(d)
	}
	return nil
}

// wornOut is the fault of the node's own disk once it cannot be written any more.
func (w Want) wornOut(d Disk) *Fault {
	return w.fault(Protected, "%s is write-protected.", "Switch the protection off. If there is none, the disk is worn out.", d)
}

// missing says as well as it can why the disk that the node uses is not there: another
// one may have taken its place.
func missing(all []Disk, w Want, look func(Disk) (content, error)) error {
	w.Early = false
	c, err := chooseNew(all, w, look)
	if f, ok := err.(*Fault); ok && f.Code != Absent {
		return err
	}
	if err == nil {
		return w.fault(Replaced, "%s is not the one that this node has used so far.", w.plugIn(), c.Disk)
	}
	return w.fault(Gone, "%s, which this node has used so far, is not there.", w.plugIn(), all...)
}

// plugIn is the remedy for a lost disk, and says how to give the disk up.
func (w Want) plugIn() string {
	if w.Purpose == Longhorn {
		return "Plug in that very disk, and check its cable and power. If it is lost for good, name another disk in node.yaml."
	}
	return "Plug in that very disk, and check its cable and power. If it is lost for good, write the image anew: the node then begins as a new one."
}

func chooseNew(all []Disk, w Want, look func(Disk) (content, error)) (choice, error) {
	fits := filter(all, func(d Disk) bool { return w.Spec.Fits(d.IDs, d.Models, d.Size) })
	switch {
	case len(fits) == 0, w.Early && w.Spec.Path == "":
		return choice{}, w.fault(Absent, "%s ("+w.Spec.String()+") is not there.", "Plug the disk in, and check its cable and power. If it should be another one, correct node.yaml.", all...)
	case len(fits) > 1:
		return choice{}, w.fault(Several, "More than one disk could be %s ("+w.Spec.String()+").", "Unplug the others, or name the disk in node.yaml by its name below /dev/disk/by-id.", fits...)
	}
	d := fits[0]
	if slices.Contains(w.Taken, d.Name) {
		return choice{}, w.fault(Taken, "%s is one that has other work on this computer.", "Correct node.yaml.", d)
	}
	c, err := look(d)
	if err != nil {
		return choice{}, w.fault(Unreadable, "%s cannot be read.", "Check its cable and power. It may be worn out.", d).because(err)
	}
	return choice{d, c}, w.judge(d, c)
}

// judge refuses a disk that must be left as it is. c is what is on it.
func (w Want) judge(d Disk, c content) error {
	const useAnother = "If nothing on it is needed, erase it in another computer, both its beginning and its end. Otherwise use another disk."
	switch {
	case c.state == made && c.node == w.Node && d.Err == nil:
		return nil
	case c.state == made:
		return w.fault(Other, "%s belongs to "+c.belongs()+".", "Plug in the disk of node "+w.Node+". "+useAnother, d).because(d.Err)
	case c.state == misnamed:
		return w.fault(Taken, "%s is "+w.Purpose.other().words()+", of "+c.belongs()+".", "Correct node.yaml, which names this disk for something else. Do not erase it.", d)
	case c.state == foreign:
		return w.fault(Foreign, "%s is not empty: "+c.what+".", useAnother, d)
	case d.ReadOnly:
		return w.fault(Protected, "%s is write-protected.", "Switch the protection off or use another disk.", d)
	case d.Size < smallest:
		return w.fault(Small, "%s is too small: it holds "+gb(d.Size)+", at least "+gb(smallest)+" is needed.", "Use a larger disk.", d)
	}
	return nil
}

// Broken is the fault of a disk that cannot be read or written, perhaps just for a moment
// (its cable or power). Unlike other faults it does not say that nothing was changed: our
// own work on the disk may have begun.
func (w Want) Broken(d Disk, err error) error {
	f := w.fault(Unreadable, "%s cannot be read and written properly.", "Check its cable and power. It may be worn out.", d)
	switch {
	case errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		f = w.wornOut(d)
	case errors.Is(err, syscall.EBUSY):
		f = w.fault(Taken, "%s is in use already.", "Correct node.yaml, or switch the computer off and on.", d)
	}
	f.What = strings.TrimSuffix(f.What, unchanged)
	return f.because(err)
}

// unchanged ends the text about disks that were only looked at.
const unchanged = " Nothing was changed on any disk."

func gb(bytes int64) string { return fmt.Sprintf("%.1f GB", float64(bytes)/1e9) }

func filter(in []Disk, keep func(Disk) bool) (out []Disk) {
	for _, d := range in {
		if keep(d) {
			out = append(out, d)
		}
	}
	return out
}

// Code names a fault for programs.
type Code string

// The faults.
const (
	Absent     Code = "absent"
	Gone       Code = "gone"
	Replaced   Code = "replaced"
	Several    Code = "several"
	Taken      Code = "taken"
	Unreadable Code = "unreadable"
	Other      Code = "other-node"
	Foreign    Code = "not-empty"
	Protected  Code = "write-protected"
	Small      Code = "too-small"
	// These two are only for a disk to install on.
	HasData Code = "has-data"
	Sectors Code = "sectors"
)

// Fault says in words for a person why no disk can be used. It may pass while the machine
// runs, as disks can be plugged in.
type Fault struct {
	Code     Code
	What, Do string
	// Disks names the disks that it is about.
	Disks string
	err   error
}

func (f *Fault) Error() string {
	if f.err != nil {
		return f.What + " " + f.err.Error()
	}
	return f.What
}

// Unwrap returns the technical cause, if any.
func (f *Fault) Unwrap() error { return f.err }

func (f *Fault) because(err error) *Fault {
	f.err = err
	return f
}

const mostDisks = 3 // in one fault: the page must fit the screen

// fault returns a Fault with these texts. %s in what stands for the disk.
func (w Want) fault(code Code, what, do string, about ...Disk) *Fault {
	var names []string
	for _, d := range about[:min(len(about), mostDisks)] {
		names = append(names, d.String())
	}
	if more := len(about) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	what = strings.ReplaceAll(what, "%s", w.Purpose.words())
	if w.Hidden > 0 && (code == Absent || code == Gone) {
		why, unhide := UnhideWords(w.Hidden)
		what, do = what+" "+why, unhide+" Otherwise: "+do
	}
	return &Fault{
		Code: code, Disks: strings.Join(names, "; "), Do: do,
		What: strings.ToUpper(what[:1]) + what[1:] + unchanged,
	}
}
