package efiboot

import (
	"encoding/binary"
	"fmt"
)

// Medium is the kind of medium that firmware has started a program from.
type Medium string

// The media. USB and Card have U-Boot's names for them.
const (
	Unknown Medium = ""
	USB     Medium = "usb"
	Card    Medium = "mmc"
	Other   Medium = "other"
)

// Started returns the medium of the boot entry that firmware has started. It is Unknown where
// firmware does not say, and for an entry in the short form, which Start writes: that names a
// partition, but not which of two disks with such a partition.
func Started(v Vars) Medium {
	current, err := v.Read("BootCurrent")
	if err != nil || len(current) != 2 {
		return Unknown
	}
	option, err := v.Read(fmt.Sprintf("Boot%04X", binary.LittleEndian.Uint16(current)))
	if err != nil {
		return Unknown
	}
	return mediumOf(pathOf(option))
}

// pathOf returns the device path of an EFI_LOAD_OPTION, nil if that is damaged.
func pathOf(option []byte) []byte {
	for at := beforeIt; at+2 <= len(option); at += 2 {
		if option[at] == 0 && option[at+1] == 0 {
			path := option[at+2:]
			return path[:min(len(path), int(binary.LittleEndian.Uint16(option[4:])))]
		}
	}
	return nil
}

// Types of a device path's nodes, and subtypes of messaging nodes (UEFI specification 2.10, chapter
// 10.3).
const (
	nodeHardware  = 1
	nodeACPI      = 2
	nodeMessaging = 3

	busUSB, busUSBClass, busUSBWWID = 5, 15, 16
	busSD, busEMMC                  = 26, 29
)

// mediumOf goes by the last USB or card bus in a device path. A path that begins at the machine's
// root and has no such bus names a disk that is built in.
func mediumOf(path []byte) Medium {
	m := Unknown
	for len(path) >= 4 {
		size := int(binary.LittleEndian.Uint16(path[2:]))
		if size < 4 || size > len(path) {
			return Unknown
		}
		switch kind, sub := path[0], path[1]; {
		case kind == nodeMessaging && (sub == busUSB || sub == busUSBClass || sub == busUSBWWID):
			m = USB
		case kind == nodeMessaging && (sub == busSD || sub == busEMMC):
			m = Card
		case (kind == nodeHardware || kind == nodeACPI) && m == Unknown:
			m = Other
		}
		path = path[size:]
	}
	return m
}
