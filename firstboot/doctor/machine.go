package doctor

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/disks"
	"github.com/going-mobile/imagebuilder/firstboot/efiboot"
	"github.com/going-mobile/imagebuilder/firstboot/k3sconfig"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

const machineGroup = "Machine"

// machine asks the hardware and its firmware about anything that would end a node far
// from anybody who could press a button. What cannot be asked is unknown, not fine.
func (p *patient) machine() {
	p.watchdog()
	p.memory()
	p.medium()
	if p.diskShare() {
		p.holders()
	}
	pi := strings.Contains(p.text("/proc/device-tree/compatible"), "raspberrypi,")
	switch pc := p.exists("/sys/class/dmi/id"); {
	case pi:
		p.power()
		p.eeprom()
	case pc:
		p.hiddenDisks()
		p.secureBoot()
		p.powerCut()
	}
}

// watchdog reads what the kernel shows of each watchdog (CONFIG_WATCHDOG_SYSFS,
// Documentation/ABI/testing/sysfs-class-watchdog).
func (p *patient) watchdog() {
	const dir, check = "/sys/class/watchdog", "watchdog armed"
	names, _ := p.Files.List(dir)
	for _, n := range names {
		if p.line(dir+"/"+n+"/state") != "active" {
			continue
		}
		p.add(machineGroup, check, OK, fmt.Sprintf("%s, %s s", p.line(dir+"/"+n+"/identity"), p.line(dir+"/"+n+"/timeout")))
		p.lastReset(p.line(dir + "/" + n + "/bootstatus"))
		return
	}
	why := "no driver found one; a PC's may be switched off in the BIOS"
	if len(names) > 0 {
		why = "there is one, and nothing uses it"
	}
	p.add(machineGroup, check, Warning, "a node that hangs stays so until somebody switches it off and on: "+why)
}

// serverMemory in kB is a bit less than k3s' minimum for a server, 2 GB (docs.k3s.io,
// "Requirements"): the kernel does not count what firmware and graphics keep.
const serverMemory = 7 << 18

// memory tells of a server that has too little of it: once etcd and the volumes are up, it
// is killed, and again after it came back.
func (p *patient) memory() {
	_, text, _ := strings.Cut(p.text("/proc/meminfo"), "MemTotal:")
	first, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	kib, err := strconv.Atoi(first)
	if err != nil || k3sconfig.Role(p.text(k3sconfig.EnvFile)) != node.Server {
		return
	}
	p.expect(kib >= serverMemory, Warning, machineGroup, "memory for a server",
		fmt.Sprintf("it has %d MB, and a server takes 2 GB: make it an agent or a witness, or take a larger machine", kib>>10))
}

// medium reports what the last monthly look at the running slot found.
func (p *patient) medium() {
	const check = "system on its medium"
	w, err := firstboot.ReadWear(p.Files)
	switch {
	case err != nil:
		p.add(machineGroup, check, Unknown, err.Error())
	case w == nil:
		p.add(machineGroup, check, Unknown, "nobody has looked since it came: firstboot check-slot")
	case w.Fault != "":
		p.add(machineGroup, check, Failure, fmt.Sprintf("%s (slot %s, seen %s): send it an update; if this comes back, replace the card or disk", w.Fault, w.Slot, w.At.Format(time.DateOnly)))
	default:
		p.add(machineGroup, check, OK, fmt.Sprintf("slot %s was whole on %s", w.Slot, w.At.Format(time.DateOnly)))
	}
}

// diskShare reports how the disk's share of the key for this node's data is kept, if
// there is one.
func (p *patient) diskShare() (encrypted bool) {
	const check, inClear = "share of the key", "it is on the disk in the clear: "
	encrypted, sealed, fault := p.DiskShare()
	var lost *firstboot.Problem
	switch {
	case !encrypted:
	case errors.As(fault, &lost):
		p.add(machineGroup, check, Failure, lost.Summary)
	case sealed && fault == nil:
		p.add(machineGroup, check, OK, "sealed by the TPM")
	case sealed:
		p.add(machineGroup, check, Warning, "the next start waits for the owner (imagebuilder unlock), as the TPM does not give it back: "+fault.Error())
	case fault == nil:
		p.add(machineGroup, check, Warning, inClear+"the TPM seals it within an hour, once a node at another place has taken the spare")
	case !errors.Is(fault, firstboot.ErrNoTPM):
		p.add(machineGroup, check, Warning, inClear+fault.Error())
	case p.line("/sys/class/tpm/tpm0/tpm_version_major") == "1":
		p.add(machineGroup, check, OK, inClear+"the TPM is a 1.2, which is not used; some firmware makes it a 2.0")
	default:
		p.add(machineGroup, check, OK, inClear+"there is no TPM 2.0; some firmware has a switch for it")
	}
	return encrypted
}

// holders reports which holders of the other share have lately heard from this node.
func (p *patient) holders() {
	const check = "holders of the key"
	all, err := firstboot.ReadHoldings(p.Files)
	switch {
	case err != nil:
		p.add(machineGroup, check, Unknown, err.Error())
		return
	case len(all) == 0:
		p.add(machineGroup, check, Unknown, "none was told since this start: the data are locked, or firstboot does not run")
		return
	}
	var late []string
	for _, h := range all {
		switch ago := p.Clock.Now().Sub(h.Took); {
		case !h.Took.IsZero() && ago <= firstboot.LateShare:
		case h.Took.IsZero():
			late = append(late, fmt.Sprintf("%s was not told since this start (%s)", h.Holder, cmp.Or(h.Fault, "it has its turn")))
		default:
			late = append(late, fmt.Sprintf("%s was not told for %d hours (%s)", h.Holder, int(ago.Hours()), cmp.Or(h.Fault, "nobody tells it")))
		}
	}
	verdict, rest := Warning, ""
	if len(late) == len(all) {
		verdict, rest = Failure, "; after the next start the data may stay locked"
	}
	p.expect(len(late) == 0, verdict, machineGroup, check, strings.Join(late, ", ")+rest)
}

// lastReset reports a restart by the watchdog: WDIOF_CARDRESET in linux/watchdog.h.
func (p *patient) lastReset(bootstatus string) {
	const cardReset = 0x20
	status, err := strconv.Atoi(bootstatus)
	if err == nil && status&cardReset != 0 {
		p.add(machineGroup, "last restart", Warning, "it was the watchdog's: the node had hung")
	}
}

// power looks for undervoltage. Only the firmware knows, and only the driver
// raspberrypi-hwmon asks it; Debian's kernels are built without that driver.
func (p *patient) power() {
	const dir, check = "/sys/class/hwmon", "power supply"
	names, _ := p.Files.List(dir)
	for _, n := range names {
		if p.line(dir+"/"+n+"/name") != "rpi_volt" {
			continue
		}
		switch p.line(dir + "/" + n + "/in0_lcrit_alarm") {
		case "0":
			p.add(machineGroup, check, OK, "")
			return
		case "1":
			p.add(machineGroup, check, Warning, "the voltage is or was too low: use the maker's power supply, and a powered hub for disks")
			return
		}
	}
	p.add(machineGroup, check, Unknown, "this kernel cannot ask for undervoltage; a red light that flickers or goes out tells of it")
}

// usbBoot is the first stable EEPROM that starts from USB disks
// (raspberrypi/rpi-eeprom, firmware-2711/release-notes.md).
var usbBoot = time.Date(2020, 9, 3, 0, 0, 0, 0, time.UTC)

// eeprom reads what the bootloader of a Pi 4 or 5 puts into the device tree: its build
// time in seconds since 1970, big-endian.
func (p *patient) eeprom() {
	const check = "EEPROM"
	stamp := p.text("/proc/device-tree/chosen/bootloader/build-timestamp")
	if len(stamp) != 4 {
		p.add(machineGroup, check, Unknown, "the bootloader does not say how old it is; models before the 4 have none")
		return
	}
	built := time.Unix(int64(binary.BigEndian.Uint32([]byte(stamp))), 0).UTC()
	words := "of " + built.Format("2006-01-02")
	if built.Before(usbBoot) {
		p.add(machineGroup, check, Warning, words+": it starts from no USB disk; Raspberry Pi Imager makes a card that updates it")
		return
	}
	p.add(machineGroup, check, OK, words)
}

func (p *patient) hiddenDisks() {
	n := p.Disks.Hidden()
	what, do := disks.UnhideWords(n)
	p.expect(n == 0, Warning, machineGroup, "no disk behind RAID", what+" "+do)
}

// secureBoot reads two variables of the firmware.
func (p *patient) secureBoot() {
	const check = "Secure Boot"
	on, known := efiboot.Switch(p.text("/" + efiboot.Variable("SecureBoot")))
	setup, _ := efiboot.Switch(p.text("/" + efiboot.Variable("SetupMode")))
	switch {
	case !known:
		p.add(machineGroup, check, Unknown, "the firmware does not say")
	case on:
		p.add(machineGroup, check, OK, "on"+p.verified())
	case setup:
		p.add(machineGroup, check, OK, "off, and no key of anybody is enrolled (setup mode)")
	default:
		p.add(machineGroup, check, OK, "off")
	}
}

// verified says whether the signature also covers the root.
func (p *patient) verified() string {
	args, err := contract.ParseArgs(p.text("/proc/cmdline"))
	if err != nil || args.Verity == nil {
		return ""
	}
	return "; the root is verified by what was signed (dm-verity)"
}

// returns has, by maker, the name of the BIOS setting for the time after a power cut, and
// the values with which a node comes back.
var returns = []struct{ maker, attribute, back string }{
	{"dell-wmi-sysman", "AcPwrRcvry", "On|Last"},
	{"thinklmi", "AfterPowerLoss", "Power On|Last State"},
	{"hp-bioscfg", "After Power Loss", "Power On|Previous State"},
}

// powerCut checks that the machine comes back after a power cut, if a driver can read
// BIOS settings (Documentation/ABI/testing/sysfs-class-firmware-attributes).
func (p *patient) powerCut() {
	const check = "comes back after a power cut"
	if strings.Contains(p.text("/proc/cpuinfo"), " hypervisor") { // a virtual machine: this is up to its host
		return
	}
	for _, r := range returns {
		value := p.line("/sys/class/firmware-attributes/" + r.maker + "/attributes/" + r.attribute + "/current_value")
		if value == "" {
			continue
		}
		back := slices.Contains(strings.Split(r.back, "|"), value)
		p.expect(back, Warning, machineGroup, check, "the BIOS says "+r.attribute+": "+value+"; it must be "+strings.Replace(r.back, "|", " or ", 1))
		return
	}
	p.add(machineGroup, check, Unknown, "look into the BIOS: AC Recovery (After Power Loss) must be Power On")
}

func (p *patient) line(name string) string { return strings.TrimSpace(p.text(name)) }
