package overlays_test

import (
	"path"
	"strings"
	"testing"
)

// kubeletTunables are what a kubelet finds in the kernel or, with protect-kernel-defaults
// (k3s' guide for the CIS benchmark), refuses to start (setupKernelTunables in
// kubernetes' pkg/kubelet/cm/container_manager_linux.go).
var kubeletTunables = map[string]string{
	"vm.overcommit_memory": "1", "vm.panic_on_oom": "0", "kernel.panic": "10", "kernel.panic_on_oops": "1",
	"kernel.keys.root_maxkeys": "1000000", "kernel.keys.root_maxbytes": "25000000",
}

// TestAKubeletThatSetsNothingStarts: every value is there before k3s is. What waits
// for a healthy slot would come too late, as that waits for k3s.
func TestAKubeletThatSetsNothingStarts(t *testing.T) {
	root := merged(t)
	got := map[string]string{}
	for n := range root.Walk() {
		if path.Dir(n.Path) != "usr/lib/sysctl.d" {
			continue
		}
		text, err := root.ReadAll(n.Path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(line, "="); ok && line[0] != '#' {
				got[strings.TrimSpace(key)] = strings.TrimSpace(value)
			}
		}
	}
	unit, err := root.ReadAll("usr/lib/systemd/system/k3s.service")
	if err != nil {
		t.Fatal(err)
	}
	before, _, _ := strings.Cut(string(unit), "\nExecStart=")
	for line := range strings.Lines(before) {
		if setting, ok := strings.CutPrefix(line, "ExecStartPre=-/usr/sbin/sysctl --quiet --write "); ok {
			key, value, _ := strings.Cut(strings.TrimSpace(setting), "=")
			got[key] = value
		}
	}
	for key, want := range kubeletTunables {
		if got[key] != want {
			t.Errorf("%s is %q when k3s starts, not %s", key, got[key], want)
		}
	}
}
