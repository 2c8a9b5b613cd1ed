package kubeconfig

import (
	"slices"
	"strings"
)

// dropFormer removes from one of the files what Join made for servers that the cluster no
// longer has. An entry that anything else in the files needs stays.
func (a Access) dropFormer(all []object, at int) {
	file := all[at]
	for _, name := range a.former(file) {
		if neededElsewhere(all, at, name) {
			continue
		}
		remove(file, "clusters", name)
		remove(file, "contexts", name)
		if file["current-context"] == name {
			file["current-context"] = a.Cluster
		}
	}
}

// former lists the cluster entries that are named and filled as Join does it, with this
// cluster's authority, for a server that is none now.
func (a Access) former(file object) (names []string) {
	entries, _ := file["clusters"].([]any)
	for _, each := range entries {
		entry, _ := each.(object)
		held, _ := entry["cluster"].(object)
		name, _ := entry["name"].(string)
		server, ours := strings.CutPrefix(name, a.Cluster+"-")
		current := slices.ContainsFunc(a.Servers, func(s Server) bool { return s.Name == server }) && server != a.Servers[0].Name
		if ours && !current && held["server"] == Address(server) && a.ours(file, name) {
			names = append(names, name)
		}
	}
	return names
}

// neededElsewhere says whether the cluster entry is needed by more than the one context that
// Join made with it, or whether that context is not as Join made it.
func neededElsewhere(all []object, at int, name string) bool {
	for i, file := range all {
		named := find(file, "contexts", "context", "", name)
		own := !slices.ContainsFunc(named, func(c object) bool { return c["cluster"] != name })
		uses := len(find(file, "contexts", "context", "cluster", name))
		if !own || uses != len(named) || i != at && (uses > 0 || file["current-context"] == name) {
			return true
		}
	}
	return false
}

// remove removes the entries with a name from one of the file's lists.
func remove(file object, list, name string) {
	entries, _ := file[list].([]any)
	file[list] = slices.DeleteFunc(entries, func(each any) bool {
		entry, _ := each.(object)
		return entry["name"] == name
	})
}
