package guest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"time"
)

// Screenshot writes the guest's screen as a PNG file. Config.QMP must be set.
func (g *Guest) Screenshot(file string) error {
	return g.qmp("screendump", map[string]any{"filename": file, "format": "png"})
}

// PressPower pushes the machine's power button. Config.QMP must be set, and
// the emulated Pi has no button.
func (g *Guest) PressPower() error {
	return g.qmp("system_powerdown", map[string]any{})
}

// SetLink plugs the network cable in or pulls it. Config.QMP must be set.
func (g *Guest) SetLink(up bool) error {
	return g.qmp("set_link", map[string]any{"name": "net0", "up": up})
}

// qmp executes one command over QEMU's control socket (QEMU Machine Protocol).
func (g *Guest) qmp(command string, args map[string]any) error {
	conn, err := net.DialTimeout("unix", g.config.QMP, 5*time.Second)
	if err != nil {
		return fmt.Errorf("QMP: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	r := bufio.NewReader(conn)
	if _, err := r.ReadBytes('\n'); err != nil { // the greeting
		return fmt.Errorf("QMP: %w", err)
	}
	for _, c := range []map[string]any{{"execute": "qmp_capabilities"}, {"execute": command, "arguments": args}} {
		if err := json.NewEncoder(conn).Encode(c); err != nil {
			return fmt.Errorf("QMP: %w", err)
		}
		if err := qmpResult(r); err != nil {
			return err
		}
	}
	return nil
}

// qmpResult reads past events to the answer.
func qmpResult(r *bufio.Reader) error {
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("QMP: %w", err)
		}
		var answer struct {
			Return *json.RawMessage
			Error  *struct{ Desc string }
		}
		if err := json.Unmarshal(line, &answer); err != nil {
			return fmt.Errorf("QMP: %w", err)
		}
		switch {
		case answer.Error != nil:
			return fmt.Errorf("QMP: %s", answer.Error.Desc)
		case answer.Return != nil:
			return nil
		}
	}
}
