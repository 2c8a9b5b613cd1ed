package initramfs

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// console is every console that the kernel command line names: usually a screen and a serial line.
// /dev/console would be only the last of them.
type console struct {
	outs []*os.File
	kmsg *os.File
}

// open finds the consoles. Without any, console stays silent rather than fail.
func (c *console) open() {
	c.kmsg, _ = os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	setLogLevel("4 4 1 7") // warnings and worse; pages switch to 1
	names := strings.Fields(readLine("/sys/class/tty/console/active"))
	if len(names) == 0 {
		names = []string{"console"}
	}
	for _, name := range names {
		if f, err := os.OpenFile("/dev/"+name, os.O_WRONLY|unix.O_NOCTTY, 0); err == nil {
			c.outs = append(c.outs, f)
		}
	}
}

// say prints one line on all consoles, and to the kernel's log, so that the journal has it.
func (c *console) say(format string, args ...any) {
	text := "init: " + fmt.Sprintf(format, args...)
	c.write(text + "\r\n")
	c.log(text)
}

// warn leaves an error in the kernel's log, which shows it on the consoles.
func (c *console) warn(format string, args ...any) {
	if c.kmsg != nil {
		fmt.Fprintf(c.kmsg, "<3>init: %s\n", fmt.Sprintf(format, args...))
	}
}

// log writes to the kernel's log only.
func (c *console) log(text string) {
	if c.kmsg != nil {
		fmt.Fprintf(c.kmsg, "<6>%s\n", text)
	}
}

// page clears the screens and shows only text. The kernel's messages are silenced from then on:
// they would push the page out of sight.
func (c *console) page(text string) {
	setLogLevel("1 4 1 7")
	c.write("\x1b[0m\x1b[2J\x1b[H" + strings.ReplaceAll(text, "\n", "\r\n"))
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\n"); strings.Trim(line, " =") != "" {
			c.log("init: " + line)
		}
	}
}

// write ignores errors: a console that has gone away is no reason to stop.
func (c *console) write(text string) {
	for _, out := range c.outs {
		_, _ = out.WriteString(text)
	}
}

func setLogLevel(levels string) {
	_ = os.WriteFile("/proc/sys/kernel/printk", []byte(levels), 0)
}

// readLine returns a file's content without surrounding white space; "" if it cannot be read.
func readLine(name string) string {
	b, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
