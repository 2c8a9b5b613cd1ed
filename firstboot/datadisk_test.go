package firstboot_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
)

// TestDataThatIsGone: a node whose disk dropped off restarts itself, as often as once an
// hour, and tells it first; it has nothing to remember that by.
func TestDataThatIsGone(t *testing.T) {
	for name, m := range map[string]firstboot.Mount{"lost": {Device: "/dev/sda1", Lost: true}, "failed": {Device: "/dev/sda1", Failed: true}} {
		t.Run(name, func(t *testing.T) {
			o := outside(t)
			booted := o.now
			o.tick = func() {
				o.files["/proc/uptime"] = &entry{data: fmt.Appendf(nil, "%.2f 1.00\n", o.now.Sub(booted).Seconds())}
			}
			o.out.restart = func() {
				if told := o.status.Problem; told == nil || told.Code != "data-"+name {
					t.Errorf("restarts before it has told why: %s", o.status.Line())
				}
				booted = o.now
				o.tick()
				o.cancel()
			}
			heard := o.now
			o.data = &m
			o.goOn(2*time.Hour + 30*time.Minute)
			o.sees("all the time", red, "Once an hour it restarts itself.")
			if n := len(o.out.restarts); n != 2 || o.out.restarts[0].Sub(heard) < time.Hour-time.Minute {
				t.Errorf("%d restarts, %v after %v", n, o.out.did, heard)
			}
			o.data = nil
			o.goOn(3 * time.Hour)
			o.sees("mended", green)
			if n := len(o.out.restarts); n != 2 {
				t.Errorf("%d restarts of one that is well", n)
			}
		})
	}
}

// TestDataThatIsGoneLate: a node that has run for long tells it, and restarts at the
// next look.
func TestDataThatIsGoneLate(t *testing.T) {
	o := outside(t)
	o.put("/proc/uptime", "400000.00 1.00\n")
	o.out.restart = func() {
		if told := o.status.Problem; told == nil || told.Code != "data-failed" {
			t.Errorf("restarts before it has told why: %s", o.status.Line())
		}
		o.put("/proc/uptime", "30.00 1.00\n")
		o.cancel()
	}
	o.data = &firstboot.Mount{Device: "/dev/sda1", Failed: true}
	o.goOn(10 * time.Minute)
	if n := len(o.out.restarts); n != 1 || o.out.restarts[0].Sub(o.out.begun) > 2*time.Minute {
		t.Errorf("%d restarts: %v", n, o.out.did)
	}
}

// TestDataThatIsGoneAtTheStart: what a person is just trying is left alone.
func TestDataThatIsGoneAtTheStart(t *testing.T) {
	o := watch(t, crashWorld(t))
	o.out = &out{begun: o.now, lease: true, restart: func() { t.Error("it restarts") }}
	o.data = &firstboot.Mount{Device: "/dev/sda1", Lost: true}
	o.run(50 * time.Minute)
	o.sees("told", red)
}
