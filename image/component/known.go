package component

import (
	"cmp"
	"fmt"
	"slices"
)

// warning tells what a person ought to know before a component goes onto
// nodes.
func (q *request) warning(r *Resolved) string {
	return cmp.Or(q.passedOff(r), q.defective(r.Version))
}

// passedOff tells that something else goes by the name of a known version: a
// lock may say anything.
func (q *request) passedOff(r *Resolved) string {
	known := q.digest(r.Version, q.arch)
	if known == "" || r.Source == FromModule { // which was built here and compared
		return ""
	}
	address := q.release(r.Version, known).url
	if r.SHA256 == known && r.URL == address {
		return ""
	}
	return fmt.Sprintf("the lock has sha256 %s from %s for %s, which is known as %s from %s", r.SHA256, r.URL, r.Version, known, address)
}

// defective tells of a known fault of a version. Versions that are not
// upstream's are the user's own affair.
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
