package firstboot_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

const (
	// taken is a name as Longhorn's recurring job gives it: of 45 characters.
	taken       = "system-n-6f1c0a52-7d34-4f0e-9c53-0b1a2c3d4e5f"
	brought     = "systemrestores/r-b4adda89"
	homeClaim   = "/api/v1/namespaces/ide/persistentvolumeclaims/home" // was never backed up
	dataClaim   = "/api/v1/namespaces/nextcloud/persistentvolumeclaims/data"
	volumesPath = "/api/v1/persistentvolumes"
	bound       = `{"status":{"phase":"Bound"}}`
	disk        = `{"items":[{"spec":{"disks":{}}},{"spec":{"disks":{"d":{"allowScheduling":true}}}}]}`
)

// bereft is a node that makes a cluster anew, with what an old one had.
func bereft(t *testing.T) *world {
	w := newWorld(t, edit(t, initYAML, "secrets: [", `restore: {systemBackup: `+taken+`, claims: {nextcloud/data: backup-1, ide/home: ""}, namespaces: [ide, old], manifests: {argocd-root: "kind: Application\n"}}, secrets: [`))
	deferK3s(w)
	return w
}

// ready is what Longhorn says when nothing hinders, with an object more.
func ready(object, text string) map[string]string {
	return map[string]string{
		"systembackups/" + taken: `{"status":{"state":"Ready"}}`, "backups/backup-1": `{"status":{"state":"Completed"}}`, "nodes": disk,
		homeClaim: bound, dataClaim: bound, object: text,
	}
}

// TestVolumesComeBackFirst: each thing is waited for with its own words, and what
// would make volumes itself is nowhere before these are back.
func TestVolumesComeBackFirst(t *testing.T) {
	w, said := bereft(t), []string{}
	s, _ := w.boot(func(s firstboot.Status) bool {
		if s.Problem == nil || s.Step != "restore" {
			return false
		}
		if w.text(manifests+"imagebuilder-argocd-root.yaml") != "" {
			t.Fatal("the applications begin while their volumes are away")
		}
		if len(said) > 0 && said[len(said)-1] == s.Problem.Summary {
			return false
		}
		said = append(said, s.Problem.Summary)
		switch len(said) {
		case 1:
			w.longhorn = map[string]string{"systembackups/" + taken: `{"status":{"state":"Syncing"}}`}
		case 2:
			w.longhorn["systembackups/"+taken] = `{"status":{"state":"Ready"}}`
		case 3:
			w.longhorn["backups/backup-1"] = `{"status":{"state":"New"}}`
		case 4:
			w.longhorn["backups/backup-1"] = `{"status":{"state":"Completed"}}`
			w.longhorn["nodes"] = `{"items":[{"spec":{"disks":{"d":{"allowScheduling":false}}}}]}`
		case 5:
			w.longhorn["nodes"] = disk
		case 6:
			w.longhorn[brought] = `{"status":{"state":"Error","conditions":[{"type":"Error","message":"no room"}]}}`
		case 7:
			if !s.Problem.Person || !strings.Contains(s.Problem.Remedy, "delete "+strings.Replace(brought, "s/", " ", 1)) {
				t.Errorf("%+v", s.Problem)
			}
			delete(w.longhorn, brought) // as a person did
			w.applied = nil
		case 8:
			w.longhorn[brought] = `{"status":{"state":"Restoring"}}`
		case 9:
			w.longhorn[brought] = `{"status":{"state":"Completed"}}`
			w.longhorn[homeClaim] = `{"status":{"phase":"Pending"}}`
		case 10:
			if !s.Problem.Person || s.Problem.Code != "restore-partial" || !strings.Contains(s.Problem.Remedy, "port-forward svc/longhorn-frontend 8080:80") {
				t.Errorf("%+v", s.Problem)
			}
			w.longhorn[dataClaim] = bound
		case 11:
			w.longhorn[homeClaim] = bound
		}
		return false
	})
	if s.State != firstboot.Joined {
		t.Fatal(s.Line())
	}
	for i, want := range []string{
		"does not run yet", `"Syncing"`, "backup-1 of nextcloud/data is not", `"New"`, "no node with a disk", "asked for", "no room", "asked for", "Restoring",
		"not the volumes of nextcloud/data.", "Pending: ide/home",
	} {
		if i >= len(said) || !strings.Contains(said[i], want) {
			t.Fatalf("%d: no %q in %q", i, want, said)
		}
	}
	if job := strings.Replace(brought, "systemrestores/", "longhorn-system-rollout-", 1); len(taken) != 45 || len(job) > 63 {
		t.Errorf("Longhorn's Job %s is refused", job)
	}
	if got := w.applied[contract.LonghornAPI+brought]; !strings.Contains(got, `"spec":{"systemBackup":"`+taken+`"}`) {
		t.Errorf("asked for: %v", w.applied)
	}
	for _, space := range []string{"ide", "nextcloud", "old"} {
		if w.applied["/api/v1/namespaces/"+space] == "" {
			t.Errorf("no namespace %s in %v", space, w.applied)
		}
	}
	if w.text(manifests+"imagebuilder-argocd-root.yaml") != "kind: Application\n" || w.starts != 1 {
		t.Errorf("the rest does not begin, or k3s began %d times", w.starts)
	}
}

// TestVolumesComeBackOnce: a cluster that lives on is never given its old data,
// even if Longhorn's record of it is gone.
func TestVolumesComeBackOnce(t *testing.T) {
	w := bereft(t)
	w.longhorn = ready(brought, `{"status":{"state":"Completed"}}`)
	if s, _ := w.boot(nil); s.State != firstboot.Joined {
		t.Fatal(s.Line())
	}
	delete(w.longhorn, brought)
	w.reboot()
	if s, _ := w.boot(nil); s.State != firstboot.Joined || w.applied[contract.LonghornAPI+brought] != "" {
		t.Errorf("%s, %v", s.Line(), w.applied)
	}
	if w.text(manifests+"imagebuilder-argocd-root.yaml") == "" {
		t.Error("what waited is gone")
	}
}

// TestSecretsAreSealedBeforeVolumesComeBack, which may take days: the boot
// partition is not the place for them.
func TestSecretsAreSealedBeforeVolumesComeBack(t *testing.T) {
	w := bereft(t)
	s, _ := w.boot(func(s firstboot.Status) bool { return s.Step == "restore" && s.Problem != nil })
	if s.Problem == nil || s.Problem.Code != "restore-waiting" || s.State != firstboot.Waiting {
		t.Fatalf("%s, %+v", s.Line(), s.Problem)
	}
	for _, word := range secrets {
		if strings.Contains(w.bootYAML(), word) {
			t.Errorf("%s is on the boot partition", word)
		}
	}
}

// TestARestoreSurvivesEveryFault leaves the very same node behind.
func TestARestoreSurvivesEveryFault(t *testing.T) {
	whole := func(f func(int, string) fault) *world {
		w := bereft(t)
		w.longhorn = ready("x", "")
		w.fault = func(n int, what string) fault {
			if strings.HasPrefix(what, "apply "+contract.LonghornAPI) {
				w.longhorn[brought] = `{"status":{"state":"Completed"}}`
			}
			return f(n, what)
		}
		for range 3 {
			s, cutAt := w.boot(nil)
			if cutAt == "" {
				if s.State != firstboot.Joined {
					t.Fatal(s.Line())
				}
				return w
			}
			w.reboot()
		}
		t.Fatal("it never ends")
		return nil
	}
	begin := 0
	calm := whole(func(n int, what string) fault {
		if begin == 0 && strings.Contains(what, brought) {
			begin = n
		}
		return none
	})
	want, total := settled(calm), calm.calls
	for n := begin; n <= total; n++ {
		for _, f := range []fault{before, after, cut, cutEnd} {
			done := false
			w := whole(func(call int, what string) fault {
				if call == n && !done {
					done = true
					return f
				}
				return none
			})
			if d := diff(want, settled(w)); d != "" {
				t.Errorf("call %d (%s), fault %d: another node\n%s", n, calm.names[n-1], f, d)
			}
		}
	}
	t.Logf("calls %d to %d", begin, total)
}

// TestVolumesComeBackAlone: nothing else need wait for them.
func TestVolumesComeBackAlone(t *testing.T) {
	w := newWorld(t, edit(t, initYAML, "secrets: [", `restore: {systemBackup: `+taken+`, claims: {nextcloud/data: backup-1}}, secrets: [`))
	deferK3s(w)
	w.longhorn = ready(brought, `{"status":{"state":"Completed"}}`)
	if s, _ := w.boot(nil); s.State != firstboot.Joined {
		t.Fatal(s.Line())
	}
}

// pv is a PersistentVolume as Longhorn's restore makes it, with what differs.
func pv(name, phase, driver, more string) string {
	return fmt.Sprintf(`{"metadata":{"name":%q,"resourceVersion":"7","annotations":{"longhorn.io/last-system-restored":"s3://x"}},"spec":{"csi":{"driver":%q}%s},"status":{"phase":%q}}`, name, driver, more, phase)
}

// TestWhatNobodyClaimedIsNobodys: Longhorn brings such volumes back without their claimRef, and
// the next claim of their class would get somebody's old data. This is done before anything
// makes claims, a person who gives some up, too; who needs a volume of the backup gets it.
func TestWhatNobodyClaimedIsNobodys(t *testing.T) {
	const longhorn = "driver.longhorn.io"
	w := bereft(t)
	w.longhorn = ready(brought, `{"status":{"state":"Completed"}}`)
	byHand := strings.Replace(pv("by-hand", "Available", longhorn, ""), "longhorn.io/last-system-restored", "x", 1)
	w.longhorn[volumesPath] = `{"items":[` + strings.Join([]string{
		pv("pvc-old", "Available", longhorn, ""), pv("pvc-home", "Available", longhorn, ""), byHand,
		pv("pvc-data", "Bound", longhorn, `,"claimRef":{"name":"data"}`), pv("kept", "Available", longhorn, `,"claimRef":{"name":"x"}`),
		pv("strange", "Available", "other.io", ""), pv("coming", "Pending", longhorn, ""), `{"metadata":{"name":"local"},"spec":{"local":{}},"status":{"phase":"Available"}}`,
	}, ",") + `]}`
	w.longhorn[homeClaim] = `{"spec":{"volumeName":"pvc-home"},"status":{"phase":"Pending"}}`
	delete(w.longhorn, dataClaim)
	reserved := func() string { return strings.Join(slices.Sorted(maps.Keys(w.patched)), " ") }
	const old, hand = volumesPath + "/pvc-old", volumesPath + "/by-hand"
	times, refused, said := 0, "", ""
	w.fault = func(_ int, what string) fault {
		if what == refused {
			return before
		}
		return none
	}
	s, _ := w.boot(func(s firstboot.Status) bool {
		if s.Problem == nil || s.Step != "restore" || s.Problem.Summary == said {
			return false
		}
		said = s.Problem.Summary
		switch times++; times {
		case 1:
			if s.Problem.Code != "restore-partial" || reserved() != old {
				t.Errorf("before a person gives claims up: %+v, %q", s.Problem, reserved())
			}
			w.longhorn[dataClaim], w.patched = bound, nil
		case 2:
			if s.Problem.Code != "restore-running" || reserved() != "" {
				t.Errorf("while claims wait: %+v, %q", s.Problem, reserved())
			}
			w.longhorn[homeClaim] = `{"spec":{"volumeName":"pvc-home"},"status":{"phase":"Bound"}}`
			w.longhorn[volumesPath] = strings.Replace(w.longhorn[volumesPath], pv("pvc-home", "Available", longhorn, ""), pv("pvc-home", "Bound", longhorn, `,"claimRef":{}`), 1)
			refused = "patch " + hand
		case 3:
			if s.Problem.Code != "restore-waiting" || w.text(manifests+"imagebuilder-argocd-root.yaml") != "" {
				t.Errorf("where one cannot be kept: %+v", s.Problem)
			}
			refused = ""
		}
		return false
	})
	if want := `{"metadata":{"resourceVersion":"7"},"spec":{"claimRef":{"apiVersion":"v1","kind":"PersistentVolumeClaim","name":"unclaimed-pvc-old","namespace":"longhorn-system"}}}`; w.patched[old] != want {
		t.Errorf("it is given to %s", w.patched[old])
	}
	if s.State != firstboot.Joined || times != 3 || reserved() != hand+" "+old {
		t.Errorf("%s after %d, reserved are %q", s.Line(), times, reserved())
	}
}
