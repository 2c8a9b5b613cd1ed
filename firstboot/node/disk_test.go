package node_test

import (
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

func TestWhichDiskIsMeant(t *testing.T) {
	ids, models := []string{"ata-Samsung_SSD_870_EVO_500GB_S1", "wwn-0x5002538f"}, []string{"Samsung SSD 870 EVO 500GB"}
	const bytes = 500107862016
	for yaml, want := range map[string]bool{
		"/dev/disk/by-id/wwn-0x5002538f":                   true,
		"/dev/disk/by-id/ata-Samsung_SSD_870_EVO_500GB_S1": true,
		"/dev/disk/by-id/ata-Samsung_SSD_870_EVO_500GB_S2": false,
		"/dev/disk/by-id/ata-Samsung_SSD_870_EVO_500GB_S":  false,
		"{path: /dev/disk/by-id/wwn-0x5002538f}":           true,
		"{model: Samsung SSD 870 EVO 500GB}":               true,
		`{model: "Samsung*"}`:                              true,
		`{model: "Samsung*", size: 500GB}`:                 true,
		`{model: "Samsung*", size: 0.5 TB}`:                true,
		`{model: "Samsung*", size: 480GB}`:                 false,
		`{model: "Samsung*", size: 512GB}`:                 false,
		`{model: "Crucial*", size: 500GB}`:                 false,
		`{size: ">=400GB"}`:                                true,
		`{size: ">= 500GiB"}`:                              false,
		`{size: "<=500GiB"}`:                               true,
		`{size: "<=1TB"}`:                                  true,
		`{size: "<=400GB"}`:                                false,
	} {
		c := load(t, minimal+"dataDisk: "+yaml+"\n")
		if got := c.DataDisk.Fits(ids, models, bytes); got != want {
			t.Errorf("%s: %v", yaml, got)
		}
	}
	if (node.Disk{}).Fits(ids, models, bytes) {
		t.Error("no disk is meant, and one fits")
	}
}

// A disk that a person gave as a name is written as a name.
func TestADiskIsWrittenAsItWasRead(t *testing.T) {
	b, err := node.Marshal(load(t, full))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"dataDisk: /dev/disk/by-id/usb-SanDisk_1\n", "longhorn:\n  disk:\n    model: Samsung*\n    size: 500GB\n"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%q is missing in\n%s", want, b)
		}
	}
}
