package node_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

func TestWhichDiskIsInstalledOn(t *testing.T) {
	models := []string{"Samsung SSD 870"}
	for yaml, want := range map[string]bool{
		"{serial: S3Z9NB0K}":               true,
		"{serial: s3z9nb0k}":               true,
		"{serial: S3Z9NB0}":                false,
		"{serial: 0}":                      false,
		"{model: 'Samsung*'}":              true,
		"{model: 'Samsung*', size: 500GB}": true,
		"{model: 'Samsung*', size: 1TB}":   false,
		"{model: 'WD*'}":                   false,
		"{size: '>=400GB'}":                true,
		"{only: true}":                     true,
	} {
		c := load(t, minimal+"install: {disk: "+yaml+"}\n")
		if got := c.Install.Disk.Fits("S3Z9NB0K", models, 500e9); got != want {
			t.Errorf("%s: %v", yaml, got)
		}
		if c.Install.Disk.String() == "" {
			t.Errorf("%s has no words", yaml)
		}
	}
	if (node.InstallDisk{}).Fits("", models, 500e9) {
		t.Error("no disk is meant, and one fits")
	}
	if (node.InstallDisk{Serial: "X"}).Fits("", models, 500e9) {
		t.Error("a disk without a serial number has one")
	}
}

func TestInstallIsStrict(t *testing.T) {
	for yaml, want := range map[string]string{
		"{}":                                       "install.disk\": say which disk by one of",
		"{wipe: true}":                             "install.disk\": say which disk",
		"{disk: {serial: X, only: true}}":          "install.disk\": say which disk by one of",
		"{disk: {serial: X, model: Y}}":            "install.disk\": say which disk by one of",
		"{disk: {only: false}}":                    "install.disk\": say which disk by one of",
		"{disk: {serial: ' X'}}":                   "install.disk.serial\": want the serial number",
		"{disk: {model: '['}}":                     "install.disk.model\": is no shell pattern",
		"{disk: {model: X, size: big}}":            "install.disk.size\": want a size like",
		"{disk: {only: true}, replacedata: true}":  "replaceData",
		"{disk: {path: /dev/sda}}":                 "path",
		"{disk: /dev/disk/by-id/ata-X}":            "install.disk",
		"{disk: {only: true}, wipe: perhaps}":      "install.wipe",
		"{disk: {serial: X}, replaceData: 'true'}": "install.replaceData",
	} {
		_, err := node.Load("node.yaml", []byte(minimal+"install: "+yaml+"\n"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", yaml, err, want)
		}
	}
}

func TestAPiIsNotInstalledFromAStick(t *testing.T) {
	if err := node.CheckInstall(contract.GPT); err != nil {
		t.Error(err)
	}
	if err := node.CheckInstall(contract.MBR); err == nil || !strings.Contains(err.Error(), "Raspberry Pi") {
		t.Error(err)
	}
}

// TestAStickKnowsWhatItInstalled: the first part alone says everything, and both parts are comments
// to a reader of node.yaml.
func TestAStickKnowsWhatItInstalled(t *testing.T) {
	want := node.Installed{Node: "cabin-box", DiskID: "11111111-2222-4333-8444-555555555555"}
	for _, size := range []int{100, 300, 512, 513, node.ReservedSize} {
		head, rest := want.Text(size)
		for _, text := range [][]byte{head, append(append([]byte(nil), head...), "k3s: {token: secret}"...), append(append([]byte(nil), head...), rest...)} {
			if got, ok := node.ParseInstalled(text); !ok || got != want {
				t.Errorf("%d: %+v %v", size, got, ok)
			}
		}
		if n := len(head) + len(rest); n < size || len(head) > 512 {
			t.Errorf("%d bytes became %d, %d first", size, n, len(head))
		}
		var bad *node.Error
		if _, err := node.Load("node.yaml", append(head, rest...)); !errors.As(err, &bad) || bad.Kind != node.Empty {
			t.Errorf("%d: %v", size, err)
		}
	}
	for _, other := range []string{"", minimal, "# This stick has installed node a on disk", "# This stick has installed node a\n"} {
		if got, ok := node.ParseInstalled([]byte(other)); ok {
			t.Errorf("%.20q is %+v", other, got)
		}
	}
}
