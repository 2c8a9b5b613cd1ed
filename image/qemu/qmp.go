package qemu

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"time"
)

// Execute runs one command over a running machine's control socket and returns
// the answer (QEMU Machine Protocol: docs/interop/qmp-spec.rst).
func Execute(socket, command string, args map[string]any) (json.RawMessage, error) {
	conn, err := net.DialTimeout("unix", socket, 5*time.Second)
	if err != nil {
		return nil, fmt.Errorf("QMP: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return nil, err
	}
	r := bufio.NewReader(conn)
	if _, err := r.ReadBytes('\n'); err != nil { // the greeting
		return nil, fmt.Errorf("QMP: %w", err)
	}
	var answer json.RawMessage
	for _, c := range []map[string]any{{"execute": "qmp_capabilities"}, {"execute": command, "arguments": args}} {
		if err := json.NewEncoder(conn).Encode(c); err != nil {
			return nil, fmt.Errorf("QMP: %w", err)
		}
		if answer, err = qmpAnswer(r); err != nil {
			return nil, err
		}
	}
	return answer, nil
}

// qmpAnswer skips events and returns the answer.
func qmpAnswer(r *bufio.Reader) (json.RawMessage, error) {
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return nil, fmt.Errorf("QMP: %w", err)
		}
		var answer struct {
			Return *json.RawMessage
			Error  *struct{ Desc string }
		}
		if err := json.Unmarshal(line, &answer); err != nil {
			return nil, fmt.Errorf("QMP: %w", err)
		}
		switch {
		case answer.Error != nil:
			return nil, fmt.Errorf("QMP: %s", answer.Error.Desc)
		case answer.Return != nil:
			return *answer.Return, nil
		}
	}
}
