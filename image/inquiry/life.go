package inquiry

import (
	"context"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/fleet"
)

// Life is a node's answer, with what distinguishes one boot from the next.
type Life struct {
	Answer
	// Boot is the kernel's boot ID, which differs after each boot (random(4)).
	Boot string `json:"boot,omitempty"`
	// Up is how long the node has been running.
	Up time.Duration `json:"up,omitempty"`
}

// Nodes of every version have these files.
const lifeQuestion = "cat /proc/sys/kernel/random/boot_id /proc/uptime && " + contract.AskStatus

// Live asks all subjects for their status, boot ID and uptime.
func Live(ctx context.Context, f *fleet.Fleet, subjects []Subject) []Life {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return inquire(ctx, f, subjects, lifeQuestion, readLife, func(why string) Life { return Life{Answer: Answer{Silent: why}} })
}

func readLife(text []byte) (l Life, err error) {
	boot, rest, _ := strings.Cut(string(text), "\n")
	uptime, status, _ := strings.Cut(rest, "\n")
	first, _, _ := strings.Cut(uptime, " ")
	seconds, err := strconv.ParseFloat(first, 64)
	if err != nil || boot == "" || !(seconds >= 0 && seconds < math.MaxInt32) {
		return l, errors.New("the answer tells of no start")
	}
	l.Answer, err = Read([]byte(status))
	l.Boot, l.Up = plain(boot), time.Duration(seconds*float64(time.Second))
	return l, err
}
