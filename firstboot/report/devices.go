package report

import (
	"cmp"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// devices walks through sysfs: every device with a modalias needs a driver. Of several with the
// same modalias, one without a driver counts.
func (w witness) devices() []contract.Device {
	found := map[string]string{}
	// A device that disappears during the walk is no device any more.
	_ = filepath.WalkDir(filepath.Join(w.root, "sys/devices"), func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() != "modalias" {
			return nil
		}
		b, err := os.ReadFile(name)
		alias := strings.TrimSpace(string(b))
		if err != nil || alias == "" {
			return nil
		}
		driver := linked(filepath.Join(filepath.Dir(name), "driver"))
		if have, ok := found[alias]; !ok || have != "" && driver == "" {
			found[alias] = driver
		}
		return nil
	})
	var list []contract.Device
	for _, alias := range slices.Sorted(maps.Keys(found)) {
		list = append(list, contract.Device{Modalias: alias, Driver: found[alias]})
	}
	slices.SortStableFunc(list, func(a, b contract.Device) int { return cmp.Compare(a.Driver, b.Driver) })
	return list
}

// linked returns the base name of a symbolic link's target, "" if there is no link.
func linked(name string) string {
	to, err := os.Readlink(name)
	if err != nil {
		return ""
	}
	return filepath.Base(to)
}

// network describes the network ports, without their addresses.
func (w witness) network() []contract.Fact {
	var f facts
	for _, port := range w.list("sys/class/net") {
		at := "sys/class/net/" + port + "/"
		driver := linked(filepath.Join(w.root, at, "device/driver"))
		if driver == "" { // a tunnel or a bridge
			continue
		}
		text := driver + ", " + cmp.Or(w.text(at+"operstate"), "unknown")
		if speed := w.text(at + "speed"); speed != "" && speed != "-1" {
			text += ", " + speed + " Mbit/s"
		}
		for _, queue := range w.list(at + "queues") {
			if n := w.text(at + "queues/" + queue + "/tx_timeout"); n != "" && n != "0" {
				text += ", " + queue + " stood still " + n + " times"
			}
		}
		f.add(hide(port), text)
	}
	return f
}

// disks describes the disks that have a medium.
func (w witness) disks() []contract.Fact {
	var f facts
	for _, name := range w.list("sys/block") {
		at := "sys/block/" + name + "/"
		size := w.text(at + "size")
		if size == "" || size == "0" || linked(filepath.Join(w.root, at, "device")) == "" { // a loop device or a RAM disk
			continue
		}
		model := strings.Join(strings.Fields(w.text(at+"device/vendor")+" "+cmp.Or(w.text(at+"device/model"), w.text(at+"device/name"))), " ")
		f.add(name, strings.Join([]string{cmp.Or(model, "no name"), size + " sectors", "on " + w.bus(name)}, ", "))
	}
	return f
}

// bus returns the bus of a disk, by its path in sysfs.
func (w witness) bus(name string) string {
	to, err := filepath.EvalSymlinks(filepath.Join(w.root, "sys/block", name))
	if err != nil {
		return "an unknown bus"
	}
	for _, bus := range []string{"usb", "nvme", "ata", "virtio", "mmc"} {
		if strings.Contains(to, "/"+bus) {
			return bus
		}
	}
	return "another bus"
}
