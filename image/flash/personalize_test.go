package flash

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/compress"
	"github.com/going-mobile/imagebuilder/image/imagetest"
	"github.com/going-mobile/imagebuilder/image/progress"
)

const secretYAML = "version: 1\nnode: home-pi\nauthKey: hskey-auth-SECRET\n"

func TestPersonalize(t *testing.T) {
	want := contract.Label{Version: 1, Board: "rpi4", ImageVersion: imagetest.Version, Kernel: imagetest.Kernel, Arch: "arm64", Storage: contract.Storage}
	for _, scheme := range []contract.Scheme{contract.MBR, contract.GPT} {
		img := testImage(t, scheme, false)
		before, err := os.ReadFile(img)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		id, err := Personalize(t.Context(), img, Node{Board: "rpi4", YAML: []byte(secretYAML)})
		want.DiskID = id.DiskID // each table of partitions has its own
		if err != nil || id.DiskID == "" || !reflect.DeepEqual(id, want) {
			t.Fatal(id, err)
		}
		t.Logf("%s: %v", scheme, time.Since(start))
		if got := mustTool(t, "mtype", "-i", img+"@@1M", "::node.yaml"); strings.TrimRight(got, "\n") != strings.TrimRight(secretYAML, "\n") || len(got) != node.ReservedSize {
			t.Errorf("mtype: %d bytes %.100q", len(got), got)
		}
		after, err := os.ReadFile(img)
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Index(after, []byte(secretYAML)); n < mib || n%512 != 0 || !bytes.Equal(before[:n], after[:n]) || !bytes.Equal(before[n+len(secretYAML):], after[n+len(secretYAML):]) {
			t.Error("more than node.yaml changed")
		}
		if mode(t, img) != 0o600 {
			t.Errorf("everybody may read the node's secrets: %v", mode(t, img))
		}
	}
}

func TestPersonalizeDevices(t *testing.T) {
	img := testImage(t, contract.MBR, false)
	whole := loop(t, img)
	// Stands for /dev/sdb1: not every kernel finds partitions on loop devices.
	part := loop(t, img, "-o", "1M", "--sizelimit", "33M")
	for target, at := range map[string]string{whole: "@@1M", part: ""} {
		text := secretYAML + "# " + filepath.Base(target) + "\n"
		if _, err := Personalize(t.Context(), target, Node{Board: "rpi4", YAML: []byte(text)}); err != nil {
			t.Error(err)
		}
		if out := mustTool(t, "mtype", "-i", target+at, "::node.yaml"); !strings.HasPrefix(out, text) {
			t.Errorf("%s: %.100q", target, out)
		}
	}
	root := loop(t, img, "-o", "34M")
	if _, err := Personalize(t.Context(), root, Node{Board: "", YAML: []byte(secretYAML)}); !errors.Is(err, ErrNotOurs) {
		t.Error(err)
	}
}

func TestPersonalizeDirectory(t *testing.T) {
	dir := t.TempDir()
	if _, err := Personalize(t.Context(), dir, Node{Board: "", YAML: []byte(secretYAML)}); !errors.Is(err, ErrNotOurs) {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, contract.LabelFile), []byte(`{"board": "rpi4"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, node.FileName)
	for _, old := range []string{"", strings.Repeat("x", node.ReservedSize), strings.Repeat("x", node.ReservedSize+9)} {
		if err := os.WriteFile(file, []byte(old), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Personalize(t.Context(), dir, Node{Board: "rpi4", YAML: []byte(secretYAML)}); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(file); err != nil || len(got) != node.ReservedSize || !strings.HasPrefix(string(got), secretYAML+"\n") {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
}

// TestASpentStickIsWrittenAnew: what installed a node has lost its boot loader, and
// another node.yaml alone would wait for ever.
func TestASpentStickIsWrittenAnew(t *testing.T) {
	img := testImage(t, contract.GPT, false)
	head, rest := node.Installed{Node: "cabin-box", DiskID: "11111111-2222-4333-8444-555555555555"}.Text(node.ReservedSize)
	if _, err := Personalize(t.Context(), img, Node{YAML: append(head, rest...)}); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Personalize(t.Context(), img, Node{YAML: []byte(secretYAML)}); err == nil || !strings.Contains(err.Error(), "has installed node cabin-box") || !strings.Contains(err.Error(), "write the image onto it again") {
		t.Error(err)
	}
	if now, err := os.ReadFile(img); err != nil || !bytes.Equal(now, before) {
		t.Error("a refused stick changed")
	}
}

func TestPersonalizeRefuses(t *testing.T) {
	img := testImage(t, contract.MBR, false)
	dir := t.TempDir()
	put := func(name string, b []byte) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	raw, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	if err := compress.Write(t.Context(), &packed, compress.Gzip, bytes.NewReader(raw), int64(len(raw)), progress.Discard); err != nil {
		t.Fatal(err)
	}
	joined := put("joined.img", raw)
	mustTool(t, "mdel", "-i", joined+"@@1M", "::node.yaml")
	foreign := put("foreign.img", raw)
	mustTool(t, "mdel", "-i", foreign+"@@1M", "::imagebuilder.json")
	tests := []struct{ name, target, board, node, want string }{
		{"board", img, "optiplex-7050", secretYAML, "the image is for board rpi4, the node for optiplex-7050"},
		{"large", img, "rpi4", strings.Repeat(secretYAML, 1000), "larger than the 32768 reserved"},
		{"compressed", put("packed.img", packed.Bytes()), "", secretYAML, "the image is packed (gz), unpack it"},
		{"joined", joined, "rpi4", secretYAML, "node.yaml is gone, as from a node that has joined"},
		{"foreign", foreign, "rpi4", secretYAML, "no boot partition of imagebuilder"},
		{"text", put("text", []byte("hello")), "", secretYAML, "no boot partition of imagebuilder"},
		{"missing", filepath.Join(dir, "nonesuch"), "", secretYAML, "no such file"},
		{"null", "/dev/null", "", secretYAML, "neither a file, a directory nor a disk"},
	}
	for _, tt := range tests {
		_, err := Personalize(t.Context(), tt.target, Node{Board: tt.board, YAML: []byte(tt.node)})
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, err := Personalize(t.Context(), img, Node{Installs: true, YAML: []byte(secretYAML)}); err == nil || !strings.Contains(err.Error(), "for a Raspberry Pi write the image") {
		t.Errorf("a stick for a Pi: %v", err)
	}
	// Before the first secret is written, not after.
	if mode(t, joined) != 0o600 {
		t.Errorf("the file is still everybody's: %v", mode(t, joined))
	}
	if now, err := os.ReadFile(img); err != nil || !bytes.Equal(now, raw) {
		t.Error("a refused image changed")
	}
}
