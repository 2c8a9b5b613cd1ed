//go:build e2e

package e2e

import (
	"bytes"
	"debug/pe"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/boards"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
	"github.com/going-mobile/imagebuilder/image/inspect"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// shopComputer is a machine as it comes out of a shop: Secure Boot is on, and it
// trusts Microsoft.
func shopComputer(t *testing.T, board string) *computer {
	t.Helper()
	c := newComputer(t, board, image(t, board), 8*gib)
	c.config.SecureBoot = true
	c.personalise()
	return c
}

// TestSecureBootStartsTheNode tells the life of a node in such a machine: first
// boot, a trial that fails and falls back, one that is good.
func TestSecureBootStartsTheNode(t *testing.T) {
	t.Parallel()
	c := shopComputer(t, "optiplex-7050")
	c.powerOn()
	c.see(aKernelStarted)
	c.untilRunning()
	c.isLockedDown()
	c.isHealthy()
	c.powerOff()
	c.countsARefusedKernel()

	c.install(tries(2), withInit(diesAtOnce))
	c.fallsBack(2, "This system dies at once")
	c.untilRunning()
	c.saysThatTheTrialFailed()
	c.powerOff()

	c.keepsAGoodOne(c.isLockedDown)
}

// countsARefusedKernel tries a kernel that does not start. systemd-boot 257 does
// not restart the machine then; what it counted brings slot a the next time.
func (c *computer) countsARefusedKernel() {
	c.t.Helper()
	c.install(tries(1), func(*tree.Tree) *tree.Tree { return nil })
	c.alter("b/vmlinuz")
	c.powerOn()
	c.see(`Error loading .b.vmlinuz: Security violation`)
	c.Kill()
	if files := c.mtools("mdir", "-b", "::"+slot.EntryDir); !strings.Contains(files, "imagebuilder-2-b+0-1.conf") {
		c.t.Errorf("the try was not counted:\n%s", files)
	}
}

// isLockedDown asks firmware and kernel whether Secure Boot is on.
func (c *computer) isLockedDown() {
	c.t.Helper()
	// Four bytes of attributes, then the value.
	if got := c.sh("od -An -tx1 /sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"); !strings.HasSuffix(got, " 01") {
		c.t.Errorf("the firmware's variable SecureBoot is %q", got)
	}
	if got := c.sh("cat /sys/kernel/security/lockdown"); got != "none [integrity] confidentiality" {
		c.t.Errorf("the kernel's lockdown is %q", got)
	}
}

// aKernelStarted is the first that a kernel says, a while after its loader's last
// word.
const aKernelStarted = `Linux version \d`

// TestSecureBootRefusesWhatWasAltered changes one bit in each link of the chain,
// which the link before it says: firmware, shim, systemd-boot.
func TestSecureBootRefusesWhatWasAltered(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ file, words string }{
		"shim":         {"EFI/BOOT/BOOTX64.EFI", `failed to load Boot.*Access Denied`},
		"systemd-boot": {"EFI/BOOT/grubx64.efi", `Verification failed:.* Security Violation`},
		"kernel":       {"a/vmlinuz", `Error loading .a.vmlinuz: Security violation`},
	} {
		t.Run(name, func(t *testing.T) {
			computer := shopComputer(t, "optiplex-7050")
			computer.alter(c.file)
			computer.powerOn()
			computer.see(c.words)
			computer.doesNotSee(aKernelStarted, 10*time.Second)
		})
	}
}

// TestSecureBootOnArm boots generic-arm64 by the same chain.
func TestSecureBootOnArm(t *testing.T) {
	t.Parallel()
	c := shopComputer(t, "generic-arm64")
	c.powerOn()
	c.untilRunning()
	c.isLockedDown()
	c.powerOff()
}

// TestSecureBootOnOwnKeys: firmware without keys takes those of the image, and then
// starts what they signed, and not what was altered, be it the kernel or the root.
func TestSecureBootOnOwnKeys(t *testing.T) {
	t.Parallel()
	c := ownComputer(t, buildOnce(t, "generic-amd64-own", append(ownKeys(t), "--board", "generic-amd64")...), "")
	c.powerOff()
	c.flipInRoot()
	c.powerOn()
	c.see(`slot\s+a\)\s+is\s+damaged`)
	c.Kill()
	c.flipInRoot()
	c.alter(slot.EFIName{Generation: 1, Slot: "a"}.Path())
	c.powerOn()
	c.see(`(?i)(Security Violation|Access Denied)`)
	c.doesNotSee(aKernelStarted, 10*time.Second)
}

// ownKeys are the arguments for a build, or an update, that an owner signs.
func ownKeys(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	key, cert := filepath.Join(dir, "key.pem"), filepath.Join(dir, "cert.pem")
	run(t, "openssl", "req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=own/", "-keyout", key, "-out", cert)
	return []string{"--sign", key, "--cert", cert}
}

// ownComputer runs a signed image, whose keys it took at its first start.
func ownComputer(t *testing.T, img, yaml string) *computer {
	t.Helper()
	c := newComputer(t, "generic-amd64", img, 8*gib)
	c.config.SecureBoot, c.config.SetupMode, c.yaml = true, true, yaml
	c.personalise()
	c.powerOn()
	c.see(`(?i)enroll`)
	c.see(aKernelStarted)
	c.untilRunning()
	c.isLockedDown()
	c.isVerified(1)
	return c
}

// TestAnUpdateOfASignedImage goes into slot b, and the next back into slot a: as what
// changed, not as all that is signed; each is verified as the first image was.
func TestAnUpdateOfASignedImage(t *testing.T) {
	t.Parallel()
	keys := ownKeys(t)
	one := buildOnce(t, "generic-amd64-one", append(keys, "--board", "generic-amd64")...)
	two, three := nextImage(t, "generic-amd64", one, "two", keys...), nextImage(t, "generic-amd64", one, "three", keys...)
	o := newUpdater(t)
	c := ownComputer(t, one, "ownerKey: "+o.key+"\n")
	for _, next := range []struct {
		slot                 string
		partition            int
		version, image, base string
	}{{"b", 2, "two", two, one}, {"a", 1, "three", three, two}} {
		address := o.update(next.version, append(keys, "--image", next.image, "--base", next.base)...)
		if size := o.size(next.version); size > 2e6 {
			t.Errorf("an update that changes a version has %d bytes", size)
		}
		c.takes(address, "slot "+next.slot+" has "+next.version+", and is tried at the next start")
		c.triesAndKeeps(next.slot, next.version)
		c.isLockedDown()
		c.isVerified(next.partition)
	}
	c.powerOff()
	c.diskIsValid()
}

// isVerified asks the node what its root is, and cryptsetup whether a partition of its
// disk has that, by its number from 0.
func (c *computer) isVerified(partition int) {
	c.t.Helper()
	if on := c.sh("findmnt --noheadings --output SOURCE /"); on != "/dev/mapper/imagebuilder-root" && on != "/dev/dm-0" {
		c.t.Errorf("the root is on %s", on)
	}
	found := regexp.MustCompile(`imagebuilder\.verity=(\d+):([0-9a-f]{64})`).FindStringSubmatch(c.sh("cat /proc/cmdline"))
	if found == nil {
		c.t.Fatal("nothing vouches for the root")
	}
	blocks, err := strconv.ParseInt(found[1], 10, 64)
	if err != nil {
		c.t.Fatal(err)
	}
	part := extract(c.t, c.disk(), partition)
	run(c.t, "veritysetup", "verify", "--no-superblock", "--format=1", "--hash=sha256", "--salt=-", "--data-block-size=4096", "--hash-block-size=4096",
		"--data-blocks="+found[1], fmt.Sprintf("--hash-offset=%d", (blocks+1)*contract.RootPage), part, part, found[2])
}

// flipInRoot changes a bit of slot a's first block, which no mount goes without, and
// changes it back.
func (c *computer) flipInRoot() {
	c.t.Helper()
	f, err := os.OpenFile(c.disk(), os.O_RDWR, 0)
	if err != nil {
		c.t.Fatal(err)
	}
	defer f.Close()
	b, at := make([]byte, 1), c.partition(2).Start+200
	if _, err := f.ReadAt(b, at); err != nil {
		c.t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, at); err != nil {
		c.t.Fatal(err)
	}
}

// TestAnUnsignedImageFallsBackToo is the same story for unified kernel images,
// which a board has with secureBoot: off.
func TestAnUnsignedImageFallsBackToo(t *testing.T) {
	t.Parallel()
	c := newComputer(t, "generic-amd64", unsignedImage(t, "generic-amd64"), 8*gib)
	c.config.Board.SecureBoot = "off"
	c.personalise()
	c.powerOn()
	c.untilRunning()
	c.powerOff()
	c.install(tries(1), withInit(diesAtOnce))
	c.fallsBack(1, "This system dies at once")
	c.untilRunning()
	c.saysThatTheTrialFailed()
	c.powerOff()

	c.keepsAGoodOne(func() {})
}

// unsignedImage is of a board with secureBoot: off, which leaves it UEFI alone.
func unsignedImage(t *testing.T, board string) string {
	t.Helper()
	signed := map[string]string{"generic-amd64": "secureBoot: debian\nbios: true", "generic-arm64": "secureBoot: debian"}
	return buildOnce(t, board+"-unsigned", "--boards", ownBoard(t, board, signed[board], "secureBoot: off"), "--board", board)
}

// TestAUnifiedKernelImageIsWhole reads it as the standard library does, by the
// names of the sections that systemd's stub looks for.
func TestAUnifiedKernelImageIsWhole(t *testing.T) {
	for _, board := range []string{"generic-amd64", "generic-arm64"} {
		t.Run(board, func(t *testing.T) {
			img := openImage(t, unsignedImage(t, board))
			label, err := img.Identity()
			if err != nil {
				t.Fatal(err)
			}
			uki := ukiSections(t, img)
			for name, want := range map[string]string{
				".uname": label.Kernel, ".cmdline": "imagebuilder.slot=a", ".osrel": "IMAGE_VERSION=" + label.ImageVersion + "\n",
			} {
				if got := string(uki[name]); !strings.Contains(got, want) {
					t.Errorf("%s is %q, without %q", name, got, want)
				}
			}
			kernel, err := openImage(t, image(t, board)).BootFile("a/vmlinuz")
			// Its size in memory is larger than the file's, so the padding counts.
			rest, whole := bytes.CutPrefix(uki[".linux"], kernel)
			if err != nil || !whole || len(bytes.TrimLeft(rest, "\x00")) > 0 {
				t.Errorf(".linux is not Debian's kernel: %d bytes, not %d (%v)", len(uki[".linux"]), len(kernel), err)
			}
			judgeInitramfs(t, uki[".initrd"])
		})
	}
}

// ukiSections are those of slot a's unified kernel image.
func ukiSections(t *testing.T, img *inspect.Image) map[string][]byte {
	t.Helper()
	data, err := img.BootFile(slot.EFIName{Generation: 1, Slot: "a"}.Path())
	if err != nil {
		t.Fatal(err)
	}
	uki, err := pe.NewFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string][]byte{}
	for _, s := range uki.Sections {
		body, err := s.Data()
		if err != nil {
			t.Fatal(err)
		}
		sections[s.Name] = body[:min(uint32(len(body)), s.VirtualSize)]
	}
	return sections
}

// TestASuiteWithoutSignedLoadersIsRefused: bookworm's systemd-boot is not signed.
func TestASuiteWithoutSignedLoadersIsRefused(t *testing.T) {
	dir := ownBoard(t, "generic-amd64", "suite: trixie", "suite: bookworm")
	out, err := exec.Command(builder, "build", "--boards", dir, "--board", "generic-amd64", "--out", filepath.Join(dir, "no.img")).CombinedOutput()
	want := "secureBoot: debian needs the package systemd-boot-efi-amd64-signed, which suite bookworm does not have"
	if err == nil || !strings.Contains(string(out), want) {
		t.Errorf("got %v, want %q:\n%s", err, want, out)
	}
}

// ownBoard makes a directory with a board of one's own that differs in one line
// from the one of its name.
func ownBoard(t *testing.T, name, old, line string) (dir string) {
	t.Helper()
	text, err := boards.FS.ReadFile(name + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old+"\n") {
		t.Fatalf("%s has no line %q", name, old)
	}
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(strings.Replace(string(text), old+"\n", line+"\n", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}
