package qemu

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"testing"
)

// monitor plays the part of QEMU that listens on a control socket.
type monitor struct {
	usb      string
	executed []string
}

func (m *monitor) serve(t *testing.T, socket string) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			m.answer(conn)
		}
	}()
}

func (m *monitor) answer(conn net.Conn) {
	defer conn.Close()
	fmt.Fprintln(conn, `{"QMP": {"version": {}}}`)
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		var c struct{ Execute string }
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return
		}
		m.executed = append(m.executed, c.Execute)
		result, _ := json.Marshal(m.usb)
		if c.Execute != "human-monitor-command" {
			result = []byte("{}")
		}
		fmt.Fprintf(conn, "{\"event\": \"RESUME\"}\n{\"return\": %s}\n", result)
	}
}

func TestANetworkThatLinuxMissedIsPluggedInAgain(t *testing.T) {
	dir, err := os.MkdirTemp("", "usb") // a socket's path may have 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := &Config{Dir: dir}
	if c.usbIsDeaf() {
		t.Error("deaf before QEMU listens")
	}
	m := &monitor{usb: "  Device 0.0, Port 1, Speed 12 Mb/s, Product QEMU USB Network Interface, ID: usbnet\r\n"}
	m.serve(t, c.usbSocket())
	if !c.usbIsDeaf() {
		t.Error("an adapter without an address is not noticed")
	}
	c.replug()
	m.usb = "  Device 0.2, Port 1, Speed 12 Mb/s, Product QEMU USB Network Interface, ID: usbnet\r\n"
	if c.usbIsDeaf() {
		t.Error("an adapter with an address is taken for deaf")
	}
	want := []string{"human-monitor-command", "device_del", "device_add", "human-monitor-command"}
	have := slices.DeleteFunc(m.executed, func(s string) bool { return s == "qmp_capabilities" })
	if !slices.Equal(have, want) {
		t.Errorf("executed %v, want %v", have, want)
	}
}
