package disks

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The names below /dev/disk/by-id are made by udev, which the initramfs does
// not have. So this file applies the rules of 60-persistent-storage.rules and
// of ata_id, usb_id and scsi_id (systemd 257) to what sysfs shows. One name is
// missing: udev also asks a disk behind a USB bridge for its ATA identity, by a
// command that the bridge may not know.

// sysfs is the directory where sysfs is mounted.
type sysfs string

// home returns the sysfs directory of a disk, "" if there is no such disk.
func (s sysfs) home(name string) string {
	dir, err := filepath.EvalSymlinks(filepath.Join(string(s), "block", name))
	if err != nil {
		return ""
	}
	return dir
}

// attr returns an attribute of a device, or of the nearest parent that has it,
// as udev's ATTRS{} does; "" if none has it.
func attr(dir, name string) string {
	for ; len(dir) > 1; dir = filepath.Dir(dir) {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil && len(b) > 0 {
			return strings.TrimRight(string(b), " \t\r\n\x00")
		}
	}
	return ""
}

// isVirtual reports whether a block device is no disk of this machine. The boot
// areas of an eMMC look like disks (mmcblk0boot0), and so do Longhorn's
// volumes, which come in an iSCSI session.
func isVirtual(name, path string) bool {
	for _, kind := range []string{"loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd"} {
		if strings.HasPrefix(name, kind) {
			return true
		}
	}
	return strings.HasPrefix(name, "mmcblk") && (strings.Contains(name, "boot") || strings.Contains(name, "rpmb")) ||
		strings.Contains(path, "/session")
}

// names returns a disk's names below /dev/disk/by-id, the best first, and the
// names that it calls itself.
func (s sysfs) names(name string) (ids, models []string) {
	dir := s.home(name)
	switch {
	case dir == "":
	case strings.HasPrefix(name, "nvme"):
		return nvmeNames(dir)
	case strings.HasPrefix(name, "vd"):
		return named("virtio-", attr(dir, "serial")), nil
	case strings.HasPrefix(name, "mmcblk"):
		model, serial := attr(dir, "name"), attr(dir, "serial")
		if model == "" || serial == "" {
			return nil, nonEmpty(model)
		}
		return named("mmc-", model+"_"+serial), []string{model}
	case strings.HasPrefix(name, "sd"):
		return scsiNames(dir)
	}
	return nil, nil
}

// serial returns the number on a disk's label, "" if the disk does not tell it.
func (s sysfs) serial(name string) string {
	dir := s.home(name)
	if dir == "" {
		return ""
	}
	if !strings.HasPrefix(name, "sd") {
		return strings.TrimSpace(attr(dir, "serial"))
	}
	device := filepath.Join(dir, "device")
	if real, err := filepath.EvalSymlinks(device); err == nil {
		device = real
	}
	if ata := identity(device); ata != nil {
		return ata.text(10, 10)
	}
	if page, err := os.ReadFile(filepath.Join(device, "vpd_pg80")); err == nil && len(page) > 4 && len(page) >= 4+int(page[3]) {
		if text := strings.TrimSpace(strings.Trim(string(page[4:4+int(page[3])]), "\x00")); text != "" {
			return text
		}
	}
	return strings.TrimSpace(attr(dir, "serial")) // the USB device's
}

// soldered tells an eMMC, whose card type is MMC, from a memory card, whose
// type is SD. Old memory cards of type MMC are no longer made.
func (s sysfs) soldered(name string) bool {
	return strings.HasPrefix(name, "mmcblk") && attr(s.home(name), "type") == "MMC"
}

func named(prefix, text string) []string {
	if text == "" {
		return nil
	}
	return []string{prefix + plain(text)}
}

func nonEmpty(words ...string) (out []string) {
	for _, w := range words {
		if w = strings.TrimSpace(w); w != "" {
			out = append(out, w)
		}
	}
	return out
}

func nvmeNames(dir string) (ids, models []string) {
	model, serial, nsid := attr(dir, "model"), attr(dir, "serial"), attr(dir, "nsid")
	if model != "" && serial != "" {
		both := model + "_" + serial
		if nsid == "1" {
			ids = append(ids, named("nvme-", both)...)
		}
		if nsid != "" {
			ids = append(ids, named("nvme-", both+"_"+nsid)...)
		}
	}
	return append(ids, named("nvme-", attr(dir, "wwid"))...), nonEmpty(model)
}

// scsiNames is for every disk called sd: ATA disks, USB storage, SCSI.
func scsiNames(dir string) (ids, models []string) {
	device := filepath.Join(dir, "device")
	if real, err := filepath.EvalSymlinks(device); err == nil {
		device = real
	}
	vendor, model := attr(device, "vendor"), attr(device, "model")
	usb := strings.Contains(dir, "/usb")
	switch ata := identity(device); {
	case ata != nil && (vendor == "ATA" || usb && attr(dir, "removable") == "0"):
		model, ids = ata.names()
		vendor = ""
	case !usb:
		ids = scsiIDs(device, vendor, model)
	}
	if usb {
		ids = append(ids, usbNames(device)...)
	}
	models = nonEmpty(model)
	if vendor != "" {
		models = append(models, nonEmpty(strings.TrimSpace(vendor)+" "+strings.TrimSpace(model))...)
	}
	return ids, models
}

// ataIdentity is the answer to IDENTIFY DEVICE.
type ataIdentity []byte

// identity finds that answer in the SCSI page for it (SAT, page 89h), nil if
// there is none.
func identity(device string) ataIdentity {
	page, err := os.ReadFile(filepath.Join(device, "vpd_pg89"))
	if err != nil || len(page) < 60+512 {
		return nil
	}
	return page[60 : 60+512]
}

// text returns a string of words; each has two characters, the second one
// first.
func (a ataIdentity) text(word, words int) string {
	b := make([]byte, 2*words)
	for i := range words {
		b[2*i], b[2*i+1] = a[2*(word+i)+1], a[2*(word+i)]
	}
	return strings.TrimSpace(strings.Trim(string(b), "\x00"))
}

func (a ataIdentity) names() (model string, ids []string) {
	model = a.text(27, 20)
	id := squeezed(model)
	if serial := squeezed(a.text(10, 10)); serial != "" {
		id += "_" + serial
	}
	ids = named("ata-", id)
	var wwn uint64
	for word := 108; word < 112; word++ {
		wwn = wwn<<16 | uint64(binary.LittleEndian.Uint16(a[2*word:]))
	}
	if wwn>>60 == 5 {
		ids = append(ids, fmt.Sprintf("wwn-0x%x", wwn))
	}
	return model, ids
}

// usbNames follows usb_id: a storage device that speaks SCSI is named as SCSI
// names it, any other as USB does.
func usbNames(device string) []string {
	face := device // becomes the USB interface, whose parent is the device
	for ; len(face) > 1; face = filepath.Dir(face) {
		if _, err := os.Stat(filepath.Join(face, "bInterfaceClass")); err == nil {
			break
		}
	}
	var vendor, model, instance string
	protocol, _ := strconv.ParseUint(attr(face, "bInterfaceSubClass"), 16, 8)
	if protocol == 6 || protocol == 2 {
		vendor, model = attr(device, "vendor"), attr(device, "model")
		if hctl := strings.Split(filepath.Base(device), ":"); len(hctl) == 4 {
			instance = "-" + hctl[2] + ":" + hctl[3]
		}
	}
	usb := filepath.Dir(face)
	for _, fill := range []struct {
		value       *string
		text, digit string
	}{{&vendor, "manufacturer", "idVendor"}, {&model, "product", "idProduct"}} {
		for _, name := range []string{fill.text, fill.digit} {
			if *fill.value == "" {
				*fill.value = attr(usb, name)
			}
		}
	}
	id := squeezed(vendor) + "_" + squeezed(model)
	if serial := attr(usb, "serial"); serial != "" && !strings.ContainsFunc(serial, func(r rune) bool { return r < ' ' || r > 0x7f || r == ',' }) {
		id += "_" + squeezed(serial)
	}
	return []string{"usb-" + id + instance}
}

// preference has the designators of a disk in page 83h (SPC), in the order in
// which scsi_id prefers them: the type of the designator, its NAA type, its
// code set.
var preference = []struct{ kind, naa, code byte }{
	{3, 6, 1}, {3, 6, 2}, {3, 5, 1}, {3, 5, 2}, {3, 0xff, 1}, {3, 0xff, 2}, {2, 0xff, 1}, {2, 0xff, 2}, {1, 0xff, 1}, {1, 0xff, 2}, {0, 0xff, 1}, {0, 0xff, 2},
}

// scsiIDs follows scsi_id: page 83h or, without that, the serial number in page
// 80h.
func scsiIDs(device, vendor, model string) []string {
	who := fmt.Sprintf("%-8.8s%-16.16s", vendor, model)
	if page, err := os.ReadFile(filepath.Join(device, "vpd_pg83")); err == nil {
		if ids := designated(page, who); ids != nil {
			return ids
		}
	}
	page, err := os.ReadFile(filepath.Join(device, "vpd_pg80"))
	if err != nil || len(page) < 4 || len(page) < 4+int(page[3]) {
		return nil
	}
	return []string{"scsi-" + squeezed("S"+who+string(page[4:4+int(page[3])]))}
}

func designated(page []byte, who string) []string {
	for _, want := range preference {
		for at := 4; at+4 <= len(page) && at+4+int(page[at+3]) <= len(page); at += 4 + int(page[at+3]) {
			code, kind, id := page[at]&0xf, page[at+1]&0xf, page[at+4:at+4+int(page[at+3])]
			forDisk := page[at+1]&0x30 == 0
			if !forDisk || code != want.code || kind != want.kind || len(id) == 0 || want.naa != 0xff && id[0]>>4 != want.naa {
				continue
			}
			text := string(id)
			if code == 1 {
				text = hex.EncodeToString(id)
			}
			return designator(kind, text, who)
		}
	}
	return nil
}

func designator(kind byte, text, who string) []string {
	switch kind {
	case 0: // unique only among the vendor's disks of that model
		return []string{"scsi-" + squeezed("0"+who+text)}
	case 3:
		return []string{"scsi-3" + squeezed(text), "wwn-0x" + squeezed(text[:min(len(text), 32)])}
	}
	return []string{"scsi-" + squeezed(strconv.Itoa(int(kind))+text)}
}

// squeezed replaces each run of blanks inside by one underscore.
func squeezed(s string) string {
	return plain(strings.Join(strings.Fields(strings.Trim(s, "\x00")), "_"))
}

// plain replaces every character that udev does not allow in a file name by an
// underscore.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= '0' && r <= '9', r >= 'A' && r <= 'Z', r >= 'a' && r <= 'z', strings.ContainsRune("#+-.:=@_", r):
			return r
		case r >= 0x80 && r != utf8.RuneError:
			return r
		}
		return '_'
	}, s)
}
