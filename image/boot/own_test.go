package boot

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/authenticode"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// ownInput has systemd's real programs, and an owner who signs.
func ownInput(t *testing.T) (in Input, cert string) {
	t.Helper()
	in = input(t)
	for _, name := range []string{"systemd-bootx64.efi", "linuxx64.efi.stub"} {
		data, err := os.ReadFile("/" + efiDir + name)
		if err != nil {
			t.Fatalf("%v: run make deps", err)
		}
		in.put(t, efiDir+name, data)
	}
	dir := t.TempDir()
	key, cert := filepath.Join(dir, "key.pem"), filepath.Join(dir, "cert.pem")
	run(t, nil, "openssl", "req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=own/", "-keyout", key, "-out", cert)
	keyText, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	certText, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	if in.Owner, err = authenticode.New(keyText, certText); err != nil {
		t.Fatal(err)
	}
	return in, cert
}

func fileOf(t *testing.T, esp *tree.Tree, name string) []byte {
	t.Helper()
	data, err := esp.ReadAll(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestAnOwnersKey: all that firmware starts bears the owner's signature, and what
// makes firmware want it lies beside it.
func TestAnOwnersKey(t *testing.T) {
	in, cert := ownInput(t)
	in.Verity = &contract.Verity{Blocks: 4711}
	esp, err := ESP(in)
	if err != nil {
		t.Fatal(err)
	}
	if uki := fileOf(t, esp, "EFI/Linux/imagebuilder-1-a.efi"); !strings.Contains(string(uki), " imagebuilder.verity=4711:0000") {
		t.Error("what is signed does not vouch for the root")
	}
	for _, name := range []string{"EFI/BOOT/BOOTX64.EFI", "EFI/systemd/systemd-bootx64.efi", "EFI/Linux/imagebuilder-1-a.efi"} {
		out := string(run(t, nil, "sbverify", "--cert", cert, tempFile(t, fileOf(t, esp, name))))
		if !strings.Contains(out, "Signature verification OK") {
			t.Errorf("%s: %s", name, out)
		}
	}
	for _, name := range []string{"loader/keys/auto/PK.auth", "loader/keys/auto/KEK.auth", "loader/keys/auto/db.auth", "secureboot.cer"} {
		if len(fileOf(t, esp, name)) == 0 {
			t.Errorf("no %s", name)
		}
	}
	if conf := string(fileOf(t, esp, "loader/loader.conf")); !strings.Contains(conf, "secure-boot-enroll if-safe\n") {
		t.Errorf("loader.conf:\n%s", conf)
	}
	again, err := slotUKI(in, "a")
	if err != nil || string(again) != string(fileOf(t, esp, "EFI/Linux/imagebuilder-1-a.efi")) {
		t.Errorf("signed twice it differs, %v", err)
	}
}
