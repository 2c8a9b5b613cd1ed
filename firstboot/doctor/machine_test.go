//go:build linux

package doctor_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/doctor"
	"github.com/going-mobile/imagebuilder/firstboot/k3sconfig"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/vault"
)

const (
	dog    = "sys/class/watchdog/watchdog0/"
	efi    = "sys/firmware/efi/efivars/"
	global = "-8be4df61-93ca-11d2-aa0d-00e098032b8c"
	tree   = "proc/device-tree/"
	bios   = "sys/class/firmware-attributes/"
)

const slotFile = "var/lib/imagebuilder/firstboot/slot-check.json"

func slotCheck(fault string) map[string]string {
	return map[string]string{slotFile: fmt.Sprintf(`{"slot": "a", "made": "2026-10-01T00:00:00Z", "at": "2026-11-01T02:03:04Z", "fault": %q}`, fault)}
}

func role(r node.Role) map[string]string {
	return map[string]string{k3sconfig.EnvFile[1:]: k3sconfig.Env(r)}
}

// TestAnAgentMayBeSmall, and so may a witness, which k3s runs as a server.
func TestAnAgentMayBeSmall(t *testing.T) {
	for _, r := range []node.Role{node.Agent, node.Witness} {
		root, h := healthy(t)
		for name, content := range role(r) {
			write(t, root, name, content)
		}
		write(t, root, "proc/meminfo", "MemTotal:         935000 kB\n")
		if table := doctor.Table(doctor.Examine(t.Context(), h)); strings.Contains(table, "memory for a server") {
			t.Errorf("%s: %s", r, table)
		}
	}
}

// TestMachine: what the hardware says, or does not, is told as it is. A
// machine that cannot be asked is unknown.
func TestMachine(t *testing.T) {
	pi := map[string]string{tree + "compatible": "raspberrypi,4-model-b\x00brcm,bcm2711\x00"}
	pc := map[string]string{"sys/class/dmi/id/sys_vendor": "Dell Inc.\n"}
	for name, c := range map[string]struct {
		kind, files map[string]string
		want        string // a verdict, a check, and some words, with single blanks
	}{
		"watchdog":              {nil, nil, "ok watchdog armed Broadcom, 15 s"},
		"none":                  {nil, map[string]string{dog: ""}, "warning watchdog armed a node that hangs stays so until somebody switches it off and on: no driver"},
		"one that nobody armed": {nil, map[string]string{dog + "state": "inactive\n"}, "warning watchdog armed a node that hangs stays so until somebody switches it off and on: there is one"},
		"it bit":                {nil, map[string]string{dog + "bootstatus": "32\n"}, "warning last restart it was the watchdog's"},

		"a server with 1 GB": {role(node.Server), map[string]string{"proc/meminfo": "MemTotal:         935000 kB\nMemFree: 1 kB\n"}, "warning memory for a server it has 913 MB, and a server takes 2 GB"},
		"a server with 2 GB": {role(node.Server), map[string]string{"proc/meminfo": "MemTotal:        1893932 kB\n"}, "ok memory for a server"},

		"nobody looked":         {nil, map[string]string{slotFile: ""}, "unknown system on its medium nobody has looked since it came: firstboot check-slot"},
		"a whole slot":          {nil, slotCheck(""), "ok system on its medium slot a was whole on 2026-11-01"},
		"a worn slot":           {nil, slotCheck("its digest is another one"), "FAILED system on its medium its digest is another one (slot a, seen 2026-11-01): send it an update"},
		"a verdict that is cut": {nil, map[string]string{slotFile: "{"}, "unknown system on its medium nobody has looked"},

		"nobody knows the voltage":   {pi, nil, "unknown power supply this kernel cannot ask"},
		"other sensors":              {pi, map[string]string{"sys/class/hwmon/hwmon0/name": "cpu_thermal\n"}, "unknown power supply"},
		"enough":                     {pi, map[string]string{"sys/class/hwmon/hwmon1/name": "rpi_volt\n", "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "0\n"}, "ok power supply"},
		"a sensor that says nothing": {pi, map[string]string{"sys/class/hwmon/hwmon1/name": "rpi_volt\n"}, "unknown power supply this kernel cannot ask"},
		"a sensor that fails":        {pi, map[string]string{"sys/class/hwmon/hwmon1/name": "rpi_volt\n", "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "?\n"}, "unknown power supply this kernel cannot ask"},
		"too little":                 {pi, map[string]string{"sys/class/hwmon/hwmon1/name": "rpi_volt\n", "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "1\n"}, "warning power supply the voltage is or was too low"},

		"no EEPROM":     {pi, nil, "unknown EEPROM the bootloader does not say"},
		"EEPROM":        {pi, map[string]string{tree + "chosen/bootloader/build-timestamp": "\x63\xc0\x00\x00"}, "ok EEPROM of 2023-01-12"},
		"an old EEPROM": {pi, map[string]string{tree + "chosen/bootloader/build-timestamp": "\x5e\x98\x00\x00"}, "warning EEPROM of 2020-04-16: it starts from no USB disk"},

		"no disk hidden": {pc, map[string]string{"sys/bus/pci/devices/0000:00:17.0/remapped_nvme": "0\n"}, "ok no disk behind RAID"},
		"a hidden disk":  {pc, map[string]string{"sys/bus/pci/devices/0000:00:17.0/remapped_nvme": "1\n"}, "warning no disk behind RAID This computer hides an NVMe disk behind its RAID setting. Switch it off and on, press F2 at once (Dell; others F1, F10 or Del), set SATA Operation to AHCI"},

		"Secure Boot on": {pc, map[string]string{efi + "SecureBoot" + global: "\x06\x00\x00\x00\x01"}, "ok Secure Boot on\n"},
		"a verified root": {pc, map[string]string{efi + "SecureBoot" + global: "\x06\x00\x00\x00\x01",
			"proc/cmdline": "quiet " + contract.Args{Slot: "a", SlotSize: 1 << 29, Verity: &contract.Verity{Blocks: 1}}.Encode()}, "ok Secure Boot on; the root is verified by what was signed (dm-verity)\n"},
		"Secure Boot off":   {pc, map[string]string{efi + "SecureBoot" + global: "\x06\x00\x00\x00\x00", efi + "SetupMode" + global: "\x06\x00\x00\x00\x00"}, "ok Secure Boot off\n"},
		"setup mode":        {pc, map[string]string{efi + "SecureBoot" + global: "\x06\x00\x00\x00\x00", efi + "SetupMode" + global: "\x06\x00\x00\x00\x01"}, "ok Secure Boot off, and no key"},
		"no word of it":     {pc, nil, "unknown Secure Boot the firmware does not say"},
		"a broken variable": {pc, map[string]string{efi + "SecureBoot" + global: "\x01"}, "unknown Secure Boot"},

		"an unknown BIOS":       {pc, nil, "unknown comes back after a power cut look into the BIOS"},
		"a Dell that stays off": {pc, map[string]string{bios + "dell-wmi-sysman/attributes/AcPwrRcvry/current_value": "Off\n"}, "warning comes back after a power cut the BIOS says AcPwrRcvry: Off; it must be On or Last"},
		"a Dell":                {pc, map[string]string{bios + "dell-wmi-sysman/attributes/AcPwrRcvry/current_value": "Last\n"}, "ok comes back after a power cut"},
		"a Lenovo":              {pc, map[string]string{bios + "thinklmi/attributes/AfterPowerLoss/current_value": "Power Off\n"}, "warning comes back after a power cut the BIOS says AfterPowerLoss: Power Off"},
		"an HP":                 {pc, map[string]string{bios + "hp-bioscfg/attributes/After Power Loss/current_value": "Previous State\n"}, "ok comes back after a power cut"},
	} {
		root, h := healthy(t)
		for _, files := range []map[string]string{c.kind, c.files} {
			for file, content := range files {
				if strings.HasSuffix(file, "/") {
					if err := os.RemoveAll(filepath.Join(root, file)); err != nil {
						t.Fatal(err)
					}
					continue
				}
				write(t, root, file, content)
			}
		}
		found := doctor.Examine(context.Background(), h)
		if doctor.Fit(found) == strings.HasPrefix(c.want, "FAILED") || !strings.Contains(lines(found), "\n"+c.want) {
			t.Errorf("%s: want %q in\n%s", name, c.want, lines(found))
		}
	}
}

// lines is the table with single blanks.
func lines(found []doctor.Finding) string {
	var b strings.Builder
	for line := range strings.Lines(doctor.Table(found)) {
		b.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
	}
	return b.String()
}

// TestAVirtualMachineHasNoPowerCut of its own, and a Pi no BIOS.
func TestAVirtualMachineHasNoPowerCut(t *testing.T) {
	root, h := healthy(t)
	write(t, root, "sys/class/dmi/id/sys_vendor", "QEMU\n")
	write(t, root, "proc/cpuinfo", "flags\t\t: fpu sse2 hypervisor lahf_lm\n")
	if table := doctor.Table(doctor.Examine(context.Background(), h)); strings.Contains(table, "power cut") {
		t.Error(table)
	}
	root, h = healthy(t)
	write(t, root, tree+"compatible", "raspberrypi,4-model-b\x00")
	if table := doctor.Table(doctor.Examine(context.Background(), h)); strings.Contains(table, "Secure Boot") || strings.Contains(table, "RAID") {
		t.Error(table)
	}
}

// TestHoldersOfTheKey: who does not hear of this node is told, and when none does.
func TestHoldersOfTheKey(t *testing.T) {
	told := func(name string, ago time.Duration, fault string) string {
		return fmt.Sprintf(`{"holder": %q, "took": %q, "fault": %q}`, name, time.Now().Add(-ago).Format(time.RFC3339), fault)
	}
	const never = `{"holder": "cabin-pi", "fault": "it does not answer"}`
	for name, c := range map[string]struct{ holdings, want string }{
		"locked":       {"", "unknown holders of the key none was told since this start"},
		"damaged":      {"[", "unknown holders of the key /run/firstboot/holders.json: "},
		"all":          {"[" + told("vps", time.Minute, "") + "]", "ok holders of the key\n"},
		"missed once":  {"[" + told("vps", time.Hour, "it does not answer") + "]", "ok holders of the key\n"},
		"one is away":  {"[" + told("vps", time.Minute, "") + "," + never + "]", "warning holders of the key cabin-pi was not told since this start (it does not answer)\n"},
		"all are away": {"[" + told("vps", 5*time.Hour, "no route to host") + "," + never + "]", "FAILED holders of the key vps was not told for 5 hours (no route to host), cabin-pi was not told since this start (it does not answer); after the next start the data may stay locked\n"},
	} {
		root, h := healthy(t)
		h.TPM = chip{firstboot.ErrNoTPM}
		write(t, root, "var/lib/imagebuilder/firstboot/storage.yaml", "version: 1\ndisk: c2hhcmU=\nid: x\n")
		if c.holdings != "" {
			write(t, root, "run/firstboot/holders.json", c.holdings)
		}
		found := doctor.Examine(context.Background(), h)
		if got := lines(found); !strings.Contains(got, "\n"+c.want) || doctor.Fit(found) == strings.HasPrefix(c.want, "FAILED") {
			t.Errorf("%s: no %q in\n%s", name, c.want, got)
		}
	}
	_, h := healthy(t)
	if got := lines(doctor.Examine(context.Background(), h)); strings.Contains(got, "holders of the key") {
		t.Errorf("not encrypted:\n%s", got)
	}
}

// TestShareOfTheKey: how it lies on the disk is told, and what the next start will find.
func TestShareOfTheKey(t *testing.T) {
	const plain = "version: 1\ndisk: c2hhcmU=\nid: x\n"
	share, err := vault.NewShare(strings.NewReader(strings.Repeat("s", vault.ShareSize)))
	if err != nil {
		t.Fatal(err)
	}
	proof, err := vault.Proof(share)
	if err != nil {
		t.Fatal(err)
	}
	sealed := fmt.Sprintf("version: 2\nid: x\ntpm: {sealed: %s, proof: %s, rest: x, spare: x}\n", base64.StdEncoding.EncodeToString([]byte(share.Reveal())), vault.Digest(proof))
	for name, c := range map[string]struct {
		storage, version string
		says             error
		want             string
	}{
		"not encrypted":  {"", "", nil, ""},
		"no TPM":         {plain, "", firstboot.ErrNoTPM, "ok share of the key it is on the disk in the clear: there is no TPM 2.0"},
		"an old TPM":     {plain, "1\n", firstboot.ErrNoTPM, "ok share of the key it is on the disk in the clear: the TPM is a 1.2"},
		"a broken TPM":   {plain, "2\n", errors.New("TPM_RC_FAILURE"), "warning share of the key it is on the disk in the clear: TPM_RC_FAILURE"},
		"not sealed yet": {plain, "2\n", nil, "warning share of the key it is on the disk in the clear: the TPM seals it within an hour"},
		"sealed":         {sealed, "2\n", nil, "ok share of the key sealed by the TPM\n"},
		"will not open":  {sealed, "2\n", firstboot.ErrTPMChanged, "warning share of the key the next start waits for the owner (imagebuilder unlock), as the TPM does not give it back: PCR 7"},
		"damaged":        {"version: 1\n", "2\n", nil, "FAILED share of the key This node's share of the key for its data is gone or damaged"},
	} {
		root, h := healthy(t)
		h.TPM = chip{c.says}
		if c.storage != "" {
			write(t, root, "var/lib/imagebuilder/firstboot/storage.yaml", c.storage)
		}
		if c.version != "" {
			write(t, root, "sys/class/tpm/tpm0/tpm_version_major", c.version)
		}
		found := doctor.Examine(context.Background(), h)
		got := lines(found)
		if !strings.Contains(got, "\n"+c.want) || c.want == "" && strings.Contains(got, "share of the key") || doctor.Fit(found) == strings.HasPrefix(c.want, "FAILED") {
			t.Errorf("%s: no %q in\n%s", name, c.want, got)
		}
	}
}
