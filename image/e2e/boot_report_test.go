//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/hardware"
)

// hasReported waits for the report that a node writes by itself, two minutes after it was
// switched on.
func (c *computer) hasReported() {
	c.t.Helper()
	c.sh("timeout 300 sh -c 'until [ $(systemctl show -P ExecMainExitTimestampMonotonic firstboot-report.service) != 0 ]; do sleep 1; done'")
}

// lacksNothing gives the card of a computer that is switched off to those who read reports:
// nothing that its machine asks for is missing in the image, but what only QEMU has.
func (c *computer) lacksNothing(img string) {
	c.t.Helper()
	cmd := exec.Command(builder, "report", c.disk(), "--image", img, "--json", "--quiet")
	var faults bytes.Buffer
	cmd.Stderr = &faults
	out, err := cmd.Output()
	var judged struct {
		Report   contract.Report
		Findings []hardware.Finding
	}
	if err == nil {
		err = json.Unmarshal(out, &judged)
	}
	if err != nil {
		c.t.Fatalf("%s: %v\n%s\n%s", contract.ReportFile, err, faults.String(), c.report())
	}
	found := false
	for _, f := range judged.Findings {
		if f.Reason == "" && emulated[f.Module] == "" {
			c.t.Errorf("the image lacks %+v", f)
			found = true
		}
	}
	r := judged.Report
	if board := contract.Find(r.Head, contract.FactBoard); board != c.config.Board.Name || len(r.Devices) < 10 || len(r.Disks) == 0 || len(r.Network) == 0 || len(r.Failed) > 0 {
		c.t.Errorf("the report is of board %s, with %d kinds of parts, %d disks, %d ports, failed units %q", board, len(r.Devices), len(r.Disks), len(r.Network), r.Failed)
		found = true
	}
	if mark, said := c.stage().UBoot, contract.Find(r.Machine, contract.FactUBoot); mark != said { // of itself, to the kernel
		c.t.Errorf("U-Boot is %q, and its card's mark says %q", said, mark)
	}
	if found {
		c.t.Logf("%s\n%s", contract.ReportFile, c.report())
	}
}

// report is the card's, without what fills the file.
func (c *computer) report() string {
	c.t.Helper()
	return strings.TrimSpace(strings.ReplaceAll(c.bootFile(contract.ReportFile), "\r\n", "\n"))
}

// emulated are the modules for what QEMU's machines have and the machines of a board have
// not. Whatever these may have, too, is a reason in boards/hardware, not here; a virtual
// machine is one for which generic-amd64 is.
var emulated = map[string]string{
	"bochs":       "QEMU's screen",
	"qemu_fw_cfg": "files that the host gives a guest",
	"virtio_pci":  "what QEMU adds to an OptiPlex: random numbers",
	"virtio_rng":  "the same",
	"kvm_amd":     "QEMU's own processor says that AMD made it, an OptiPlex' did Intel",
	"psmouse":     "a PS/2 mouse",
	"serio_raw":   "the same",
}
