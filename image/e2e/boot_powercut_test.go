//go:build e2e

package e2e

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestAPowerCutAtAnyMomentOfTheFirstBootCostsNothing pulls the plug POWERCUTS
// times (6) at random moments between power-on and a running system. A third of
// the cuts is the last one of its disk: then the node starts in peace, and the
// next cut meets a fresh disk. POWERCUT_SEED repeats the moments of an earlier
// run.
func TestAPowerCutAtAnyMomentOfTheFirstBootCostsNothing(t *testing.T) {
	t.Parallel()
	cuts, seed := number(t, "POWERCUTS", 6), number(t, "POWERCUT_SEED", int(time.Now().Unix()))
	t.Logf("POWERCUT_SEED=%d", seed)
	rnd := rand.New(rand.NewPCG(uint64(seed), 0))
	for i, board := range trialBoards { // GPT and MBR; an emulated Pi is four times slower
		left := []int{cuts - cuts/5, cuts / 5}[i]
		if left == 0 {
			continue
		}
		t.Run(board, func(t *testing.T) {
			for whole := undisturbed(t, board); left > 0; {
				left -= survives(t, board, whole, left, rnd)
			}
		})
	}
}

// survives cuts the first boot of one disk at most times, and returns how
// often it did.
func survives(t *testing.T, board string, whole time.Duration, most int, rnd *rand.Rand) (cuts int) {
	c := newComputer(t, board, image(t, board), 8*gib)
	defer os.Remove(c.disk()) // the next one needs the room
	c.personalise()
	for cuts < most && (cuts == 0 || rnd.IntN(3) > 0) {
		at := time.Second + time.Duration(rnd.Int64N(int64(whole-time.Second)))
		c.powerOn()
		time.Sleep(at)
		c.Kill()
		cuts++
		t.Logf("%s: cut after %v, last line: %s", board, at.Round(100*time.Millisecond), c.Tail(1))
	}
	c.powerOn()
	c.untilRunning()
	c.fillsDisk(8 * gib)
	c.powerOff()
	c.tableIsValid()
	run(t, "e2fsck", "-f", "-n", c.dataAt())
	c.bootPartitionIsSound()
	return cuts
}

// undisturbed measures a first boot up to a running system.
func undisturbed(t *testing.T, board string) time.Duration {
	t.Helper()
	c := newComputer(t, board, image(t, board), 8*gib)
	defer os.Remove(c.disk())
	c.personalise()
	c.powerOn()
	defer c.Kill()
	return c.untilRunning()
}

// dirtyFAT is what fsck.fat -n says of a FAT that was only not unmounted: its
// mark is byte 65 of the boot sector, and the copy of that has none.
var dirtyFAT = []string{
	"fsck.fat", "Dirty bit is set", "may be corrupt", "Automatically removing dirty bit", "Leaving filesystem unchanged", " files, ",
	"differences between boot sector and its backup", "This is mostly harmless", "65:01/00", "Not automatically fixing this",
}

// bootPartitionIsSound allows a FAT whose only fault is to be marked as not
// unmounted. All else the node's own fsck.fat mends before each mount: clusters that a
// cut left to no file are files then, FSCK0000.REC, which the next update removes.
func (c *computer) bootPartitionIsSound() {
	c.t.Helper()
	out, err := exec.Command("fsck.fat", "-n", extract(c.t, c.disk(), 0)).CombinedOutput()
	if err == nil {
		return
	}
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if line != "" && !slices.ContainsFunc(dirtyFAT, func(known string) bool { return strings.Contains(line, known) }) {
			c.t.Errorf("fsck.fat: %v\n%s", err, out)
			return
		}
	}
}

// number reads a whole number from the environment.
func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s=%s is no number", name, text)
	}
	return n
}
