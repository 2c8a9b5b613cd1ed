//go:build e2e

package e2e

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestAPowerCutAtAnyMomentOfTheFirstBootCostsNothing pulls the plug POWERCUTS
// times (6), each time of a fresh disk and at another moment between power-on
// and a running system, and then lets the node start in peace.
// POWERCUT_SEED repeats the moments of an earlier run.
func TestAPowerCutAtAnyMomentOfTheFirstBootCostsNothing(t *testing.T) {
	cuts, seed := number(t, "POWERCUTS", 6), number(t, "POWERCUT_SEED", int(time.Now().Unix()))
	t.Logf("POWERCUT_SEED=%d", seed)
	moments := rand.New(rand.NewPCG(uint64(seed), 0))
	whole := map[string]time.Duration{}
	for i := range cuts {
		board := []string{"generic-amd64", "rpi4"}[i%2] // GPT and MBR
		if whole[board] == 0 {
			whole[board] = undisturbed(t, board)
		}
		at := time.Second + time.Duration(moments.Int64N(int64(whole[board]-time.Second)))
		t.Run(board+" after "+at.Round(100*time.Millisecond).String(), func(t *testing.T) {
			c := newComputer(t, board, image(t, board), 8*gib)
			c.personalise()
			c.powerOn()
			time.Sleep(at)
			c.Kill()
			t.Logf("the last line before the cut: %s", c.Tail(1))
			c.tableIsValid()

			c.powerOn()
			c.untilRunning()
			c.fillsDisk(8 * gib)
			c.powerOff()
			c.tableIsValid()
			run(t, "e2fsck", "-f", "-n", c.dataAt())
			c.bootPartitionIsSound()
		})
	}
}

// undisturbed measures a first boot up to a running system.
func undisturbed(t *testing.T, board string) (took time.Duration) {
	t.Run(board+" undisturbed", func(t *testing.T) {
		c := newComputer(t, board, image(t, board), 8*gib)
		c.personalise()
		c.powerOn()
		took = c.untilRunning()
	})
	if took == 0 {
		t.FailNow()
	}
	return took
}

// bootPartitionIsSound allows a FAT whose only fault is to be marked as not
// unmounted: nobody repairs it on the node, and nothing needs to.
func (c *computer) bootPartitionIsSound() {
	c.t.Helper()
	out, err := exec.Command("fsck.fat", "-n", extract(c.t, c.disk(), 0)).CombinedOutput()
	if err == nil {
		return
	}
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		harmless := line == "" || strings.HasPrefix(line, "fsck.fat") || strings.Contains(line, "Dirty bit is set") ||
			strings.Contains(line, "may be corrupt") || strings.Contains(line, "Automatically removing dirty bit") ||
			strings.Contains(line, "Leaving filesystem unchanged") || strings.Contains(line, " files, ")
		if !harmless {
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
