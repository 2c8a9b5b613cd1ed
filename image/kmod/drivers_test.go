package kmod

import (
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// TestDriversAreThoseOfModprobe asks both for what would drive a device.
func TestDriversAreThoseOfModprobe(t *testing.T) {
	tr := testTree(t)
	d, err := AllDrivers(t.Context(), tr, testVersion, Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir := unpackTree(t, tr)
	run(t, nil, "depmod", "-b", dir, testVersion)
	text, err := os.ReadFile(dir + "/lib/modules/" + testVersion + "/modules.alias")
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	for _, m := range regexp.MustCompile(`(?m)^alias (\S+:\S*) \S+$`).FindAllStringSubmatch(string(text), -1) {
		if strings.Contains(m[1], "[broken") {
			continue
		}
		modalias := strings.NewReplacer("*", "00FF", "?", "7", "[a-c]", "b").Replace(m[1])
		out, err := exec.Command("modprobe", "-C", "/dev/null", "-d", dir, "-S", testVersion, "-R", modalias).Output()
		if err != nil {
			t.Fatalf("modprobe -R %s: %v", modalias, err)
		}
		want := strings.Fields(strings.ReplaceAll(string(out), "-", "_"))
		slices.Sort(want)
		if got := d.For(modalias); !reflect.DeepEqual(got, slices.Compact(want)) {
			t.Errorf("%s: got %v, modprobe says %v", modalias, got, want)
		}
		asked++
	}
	if asked < 3 || d.For("pci:nobody") != nil {
		t.Errorf("%d aliases asked for", asked)
	}
}

// TestAKernelWithoutModulesDrivesNothing: a kernel without modules is an error. Otherwise a
// caller would conclude that the image lacks no driver.
func TestAKernelWithoutModulesDrivesNothing(t *testing.T) {
	tr := tree.New()
	if err := tr.MkdirAll("usr/lib/modules/"+testVersion, testTime, "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := AllDrivers(t.Context(), tr, testVersion, Options{}); err == nil || !strings.Contains(err.Error(), "has no modules") {
		t.Error(err)
	}
}

func TestAPatternIsModprobes(t *testing.T) {
	d := &Drivers{}
	for pattern, module := range map[string]string{
		"usb:v*p[0-9]*d*": "a", "dmi:*bd*:svnDell*": "b", "of:N*T*Cx,y-z": "c", "in-put:[a-c]*": "d", "half:x]*": "e", "half:[x*": "e",
	} {
		d.add(pattern, module)
	}
	for modalias, want := range map[string][]string{
		"usb:v1234p5d1": {"a"}, "usb:v1234pFd1": nil, "dmi:bvnX:bd09/20/2023:svnDell Inc": {"b"}, "of:NfooT(null)Cx,y-z": {"c"}, "of:NfooT(null)Cx,y_z": {"c"},
		"in_put:b1": {"d"}, "in-put:-1": nil, "half:x]y": nil, "half:[xy": nil, "half:xy": nil, "dmi:bvn]:bd1:svnDell": nil,
	} {
		if got := d.For(modalias); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, want %v", modalias, got, want)
		}
	}
}

// TestHalfABracketIsNoAlias checks with modprobe that aliases with unmatched brackets match
// nothing, as the test above assumes.
func TestHalfABracketIsNoAlias(t *testing.T) {
	dir := unpackTree(t, testTree(t))
	run(t, nil, "depmod", "-b", dir, testVersion)
	for modalias, want := range map[string]string{"usb:v1-2bdx": "odd\n", "usb:v1-2bdx]": "", "usb:v1-2bd[x": "", "usb:v[broken": ""} {
		out, err := exec.Command("modprobe", "-C", "/dev/null", "-d", dir, "-S", testVersion, "-R", modalias).Output()
		if string(out) != want || (err == nil) != (want != "") {
			t.Errorf("%s: modprobe says %q, %v", modalias, out, err)
		}
	}
}
