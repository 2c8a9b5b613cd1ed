package fdt

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const source = `/dts-v1/;
/memreserve/ 0x1000 0x2000;
/ {
	compatible = "raspberrypi,4-model-b", "brcm,bcm2711";
	#address-cells = <2>;
	chosen { };
	soc {
		label: serial@7e201000 {
			reg = <0x7e201000 0x200>;
			status = "okay";
			empty;
			bytes = [01 02 03];
			bluetooth { max-speed = <3000000>; };
		};
	};
};
`

// compile lets dtc make a blob.
func compile(t testing.TB, text string) []byte {
	t.Helper()
	cmd := exec.Command("dtc", "-q", "-I", "dts", "-O", "dtb")
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("dtc: %v; if it is missing: run make deps", err)
	}
	return out
}

// decompile lets dtc print a blob, which it also checks.
func decompile(t testing.TB, blob []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "dtb")
	if err := os.WriteFile(name, blob, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("dtc", "-q", "-I", "dtb", "-O", "dts", name).CombinedOutput()
	if err != nil {
		t.Fatalf("dtc: %v\n%s", err, out)
	}
	return string(out)
}

// What we read and write again means the same to dtc.
func TestRoundTrip(t *testing.T) {
	blob := compile(t, source)
	tree, err := Parse(blob)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(decompile(t, blob), decompile(t, tree.Bytes())); diff != "" {
		t.Error(diff)
	}
	if !bytes.Equal(tree.Bytes(), tree.Bytes()) {
		t.Error("two writings differ")
	}
}

func TestChange(t *testing.T) {
	tree, err := Parse(compile(t, source))
	if err != nil {
		t.Fatal(err)
	}
	uart := tree.Find("/soc/serial@7e201000")
	uart.Set("status", []byte("disabled\x00"))
	uart.Delete("bytes")
	uart.Delete("absent")
	uart.DeleteChild("bluetooth")
	uart.DeleteChild("absent")
	tree.Find("/chosen").Set("imagebuilder,bootargs", []byte("console=ttyAMA0\x00"))
	want := strings.NewReplacer(`status = "okay"`, `status = "disabled"`, "\t\t\tbytes = [01 02 03];\n", "",
		"\t\t\tbluetooth { max-speed = <3000000>; };\n", "", "chosen { };", "chosen { imagebuilder,bootargs = \"console=ttyAMA0\"; };").Replace(source)
	if diff := cmp.Diff(decompile(t, compile(t, want)), decompile(t, tree.Bytes())); diff != "" {
		t.Error(diff)
	}
	if v, ok := uart.Get("status"); !ok || string(v) != "disabled\x00" {
		t.Errorf("%q %v", v, ok)
	}
	if tree.Find("/soc/nothing/here") != nil || tree.Find("/") != tree.Root {
		t.Error("Find")
	}
}

func TestRefusesDamage(t *testing.T) {
	blob := compile(t, source)
	for n := range len(blob) {
		if _, err := Parse(blob[:n]); err == nil {
			t.Fatalf("accepted the first %d bytes of %d", n, len(blob))
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(compile(f, source))
	f.Fuzz(func(t *testing.T, b []byte) {
		tree, err := Parse(b)
		if err != nil {
			return
		}
		again, err := Parse(tree.Bytes())
		if err != nil {
			t.Fatalf("not readable after writing: %v", err)
		}
		if diff := cmp.Diff(tree, again); diff != "" {
			t.Error(diff)
		}
	})
}
