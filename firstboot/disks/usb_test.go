package disks

import (
	"testing"
	"testing/fstest"
)

func TestADiskOnUSBIsStillComing(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	keyboard, stick := fstest.MapFS{"bus/usb/devices/1-1:1.0/bInterfaceClass": file("03\n")}, fstest.MapFS{"bus/usb/devices/1-2:1.0/bInterfaceClass": file("08\n")}
	shown := fstest.MapFS{"bus/usb/devices/1-2:1.0/host6/target6:0:0/6:0:0:0/block/sda/dev": file("8:0\n")}
	for name, test := range map[string]struct {
		parts []fstest.MapFS
		want  bool
	}{
		"no USB":                      {nil, false},
		"a keyboard":                  {[]fstest.MapFS{keyboard}, false},
		"a stick":                     {[]fstest.MapFS{keyboard, stick}, true},
		"a stick that is shown":       {[]fstest.MapFS{keyboard, stick, shown}, false},
		"one shown, and one not":      {[]fstest.MapFS{stick, shown, {"bus/usb/devices/2-1:1.0/bInterfaceClass": file("08\n")}}, true},
		"one that has a host already": {[]fstest.MapFS{stick, {"bus/usb/devices/1-2:1.0/host6/scsi_host/host6/state": file("running\n")}}, true},
		"a modem's CD":                {[]fstest.MapFS{stick, {"bus/usb/devices/1-2:1.0/host6/target6:0:0/6:0:0:0/type": file("5\n")}}, false},
		"a CD beside a disk":          {[]fstest.MapFS{stick, {"bus/usb/devices/1-2:1.0/host6/target6:0:0/6:0:0:0/type": file("5\n"), "bus/usb/devices/1-2:1.0/host6/target6:0:0/6:0:0:1/type": file("0\n")}}, true},
	} {
		sys := fstest.MapFS{}
		for _, part := range test.parts {
			for name, f := range part {
				sys[name] = f
			}
		}
		if got := StillComing(sys); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
