package resurrect

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/image/seed"
	"github.com/going-mobile/imagebuilder/image/systembackup"
)

// choose returns the backup that was named, or the newest. It refuses a backup made by
// another version of Longhorn: Longhorn would restore it with the old custom resources, and
// end up as neither version. It refuses a newest backup without volumes if older ones have
// some: it may be from a cluster that was made anew and lost again.
func choose(all []*systembackup.Backup, name, place string) (*systembackup.Backup, error) {
	if len(all) == 0 {
		return nil, fmt.Errorf("%s has no backup of Longhorn's system that could be brought back. If there is nothing to bring back, say --without-volumes", place)
	}
	at := slices.IndexFunc(all, func(b *systembackup.Backup) bool { return name == "" || b.Name == name })
	if at < 0 {
		return nil, fmt.Errorf("%s has no system backup %q; it has %s", place, name, list(names(all)))
	}
	b := all[at]
	if b.Version != seed.LonghornVersion() {
		return nil, fmt.Errorf("the system backup %s is of Longhorn %s, and this imagebuilder brings %s. Use one that brings %[2]s; Longhorn is raised afterwards", b.Name, b.Version, seed.LonghornVersion())
	}
	older := slices.ContainsFunc(all, func(o *systembackup.Backup) bool { return len(o.Claims) > 0 })
	if name == "" && len(b.Claims) == 0 && older {
		return nil, fmt.Errorf("the newest system backup (%s, of %s) has no volumes, and older ones have: say which by --system-backup: %s", b.Name, day(b.Created), list(names(all)))
	}
	if others := strangers(all, b); name == "" && len(others) > 0 {
		return nil, fmt.Errorf("the newest system backup (%s, of %s) shares no volume with %s: %s may have those of another cluster, too. Say which is this one's by --system-backup: %s", b.Name, day(b.Created), list(names(others)), place, told(all))
	}
	return b, nil
}

// strangers are the backups that may be of another cluster: those that have volumes, but are
// not linked to b by common volumes, directly or through other backups. If another cluster
// in the same bucket still runs, the newest backup is that cluster's. Volumes are compared,
// not claims, as a similar cluster uses the same claim names.
func strangers(all []*systembackup.Backup, b *systembackup.Backup) (others []*systembackup.Backup) {
	kin := map[string]bool{}
	for _, v := range b.Volumes {
		kin[v] = true
	}
	for _, o := range all { // newest first: volumes change gradually from night to night
		switch {
		case len(o.Volumes) == 0:
		case slices.ContainsFunc(o.Volumes, func(v string) bool { return kin[v] }):
			for _, v := range o.Volumes {
				kin[v] = true
			}
		default:
			others = append(others, o)
		}
	}
	return others
}

// lacks reports claims that b does not have, and an older backup of the same cluster has.
// They were given up since, or b was made while volumes were being restored: Longhorn's
// restore begins with the lost cluster's jobs.
func lacks(all []*systembackup.Backup, b *systembackup.Backup) (tell []string) {
	known, others := map[string]bool{}, strangers(all, b)
	for claim := range b.Claims {
		known[claim] = true
	}
	for _, o := range all { // the newest first
		if !o.Created.Before(b.Created) || slices.Contains(others, o) {
			continue
		}
		var more []string
		for _, claim := range slices.Sorted(maps.Keys(o.Claims)) {
			if !known[claim] {
				more, known[claim] = append(more, claim), true
			}
		}
		if len(more) > 0 {
			tell = append(tell, fmt.Sprintf("the system backup %s (of %s) does not have %s, which %s (of %s) has: unless that was given up, say --system-backup %[4]s, which brings all back as of its night", b.Name, day(b.Created), some(more), o.Name, day(o.Created)))
		}
	}
	return tell
}

// some lists the first of many names, and says how many more there are.
func some(all []string) string {
	const most = 10
	if len(all) <= most {
		return list(all)
	}
	return fmt.Sprintf("%s and %d more", list(all[:most]), len(all)-most)
}

// told lists backups so that a person can tell them apart.
func told(all []*systembackup.Backup) string {
	var out []string
	for _, b := range all {
		out = append(out, fmt.Sprintf("%s (%s: %s)", b.Name, day(b.Created), list(slices.Sorted(maps.Keys(b.Claims)))))
	}
	return strings.Join(out, "; ")
}

func names(all []*systembackup.Backup) (out []string) {
	for _, b := range all {
		out = append(out, b.Name)
	}
	return out
}
