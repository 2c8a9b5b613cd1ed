// Package doctor examines a node for what k3s and Longhorn need: what "k3s check-config"
// and "longhornctl check preflight" look at, without running either. It also checks the
// firewall, and whether the machine would come back by itself. On a server it checks the
// cluster: whether clocks agree, nodes have their site, and charts, volumes and backups
// are in order. Where Headscale runs, it checks that its name leads to it, that its
// certificate lasts, that its database is copied, and that the applications' names lead
// somewhere.
//
// What goes in is a firstboot.Host, what comes out is a list of findings. The package
// only looks: it repairs nothing and loads no module.
package doctor

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// What a builder reads of an examination is package contract's.
type (
	Verdict = contract.Verdict
	Finding = contract.Finding
)

// The verdicts.
const (
	OK      = contract.OK
	Unknown = contract.Unknown
	Warning = contract.Warning
	Failure = contract.Failure
)

// Examine runs every check. It has no error: what cannot be asked is a finding, too.
func Examine(ctx context.Context, h firstboot.Host) []Finding {
	p := &patient{Host: h}
	p.release = strings.TrimSpace(p.text("/proc/sys/kernel/osrelease"))
	// Debian's kernels have it in /boot up to 6.12, and below /usr/lib/modules from 7.x
	// on.
	p.config = kernelConfig(p.text("/boot/config-"+p.release) + p.text("/usr/lib/modules/"+p.release+"/config"))
	p.kernel()
	p.system()
	p.longhorn(ctx)
	p.cluster(ctx)
	p.firewall(ctx)
	p.headscale(ctx)
	p.applications(ctx)
	p.machine()
	return p.found
}

// Fit reports whether no check failed.
func Fit(all []Finding) bool {
	for _, f := range all {
		if f.Verdict == Failure {
			return false
		}
	}
	return true
}

// Table returns the findings as text, each with its detail.
func Table(all []Finding) string {
	var b strings.Builder
	group := ""
	for _, f := range all {
		if f.Group != group {
			group = f.Group
			fmt.Fprintf(&b, "%s\n", group)
		}
		fmt.Fprintf(&b, "  %-8s %-34s %s\n", f.Verdict, f.Check, f.Detail)
	}
	return b.String()
}

// JSON returns the findings as one line.
func JSON(all []Finding) string {
	text, _ := json.Marshal(all) // strings only: this cannot fail
	return string(text) + "\n"
}

type patient struct {
	firstboot.Host
	release string
	config  map[string]string
	found   []Finding
}

func (p *patient) add(group, check string, v Verdict, detail string) {
	p.found = append(p.found, Finding{Group: group, Check: check, Verdict: v, Detail: detail})
}

// expect records the verdict OK if ok, or else the verdict otherwise.
func (p *patient) expect(ok bool, otherwise Verdict, group, check, detail string) {
	if ok {
		p.add(group, check, OK, "")
		return
	}
	p.add(group, check, otherwise, detail)
}

// text returns a file's content, "" if it cannot be read. It does not rely on the size,
// which files of /proc do not have.
func (p *patient) text(name string) string {
	f, err := p.Files.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 4<<20))
	if err != nil {
		return ""
	}
	return string(data)
}

func (p *patient) exists(name string) bool {
	_, err := p.Files.Stat(name)
	return err == nil
}

// program looks in the directories of systemd's default PATH.
func (p *patient) program(name string) bool {
	for _, dir := range []string{"/usr/local/sbin/", "/usr/local/bin/", "/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/"} {
		if p.exists(dir + name) {
			return true
		}
	}
	return false
}

// kernelConfig reads the lines CONFIG_X=y|m of a kernel's configuration.
func kernelConfig(text string) map[string]string {
	out := map[string]string{}
	for lines := bufio.NewScanner(bytes.NewReader([]byte(text))); lines.Scan(); {
		if k, v, ok := strings.Cut(lines.Text(), "="); ok && strings.HasPrefix(k, "CONFIG_") {
			out[strings.TrimPrefix(k, "CONFIG_")] = v
		}
	}
	return out
}
