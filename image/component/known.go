package component

import (
	"cmp"
	"fmt"
	"slices"
)

// warning returns what a person should know before this component is installed on nodes, or
// "".
func (q *request) warning(r *Resolved) string {
	return cmp.Or(q.passedOff(r), q.defective(r.Version))
}

// passedOff reports a lock that names a known version but has another digest or URL for it: a
// lock may contain anything.
func (q *request) passedOff(r *Resolved) string {
	known := q.digest(r.Version, q.arch)
	if known == "" || r.Source == FromModule { // a FromModule build was made here, and its digest compared
		return ""
	}
	address := q.release(r.Version, known).url
	if r.SHA256 == known && r.URL == address {
		return ""
	}
	return fmt.Sprintf("the lock has sha256 %s from %s for %s, which is known as %s from %s", r.SHA256, r.URL, r.Version, known, address)
}

// defective reports a known defect of a version. It says nothing about versions that do not
// look like upstream's: those are the user's own.
func (q *request) defective(version string) string {
	v, ok := parseVersion(version)
	if q.Defect == nil || !ok {
		return ""
	}
	newest := ""
	for _, fixed := range q.Defect.Fixed { // in order
		f, _ := parseVersion(fixed)
		if newest = fixed; slices.Equal(f[:2], v[:2]) {
			break
		}
	}
	if f, _ := parseVersion(newest); slices.Compare(v[:], f[:]) >= 0 {
		return ""
	}
	return fmt.Sprintf("%s has a defect: %s; take %s or later", version, q.Defect.What, newest)
}

// parseVersion reads the three numbers of "v1.36.4+k3s1".
func parseVersion(s string) (v [3]int, ok bool) {
	_, err := fmt.Sscanf(s, "v%d.%d.%d", &v[0], &v[1], &v[2])
	return v, err == nil
}
