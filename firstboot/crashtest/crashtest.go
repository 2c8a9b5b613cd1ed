// Package crashtest makes calls to the outside fail. Tests use it to break each call in turn, and
// require the same end state after a restart.
package crashtest

import "errors"

// Fault is a way to fail.
type Fault int

// The ways to fail.
const (
	None   Fault = iota
	Before       // an error, and nothing has happened
	After        // an error, although it has happened
	Cut          // power fails before it happens, or halfway
	CutEnd       // power fails just after it has happened
)

// PowerCut is the value that Do panics with when power fails.
type PowerCut struct{ At string }

// ErrInjected is the error of a call that fails.
var ErrInjected = errors.New("injected fault")

// Do runs the effect of the call with this name, or what the fault leaves of it. half is what Cut
// leaves.
func (f Fault) Do(name string, effect func() error, half func()) error {
	switch f {
	case Before:
		return ErrInjected
	case After:
		if err := effect(); err != nil {
			return err
		}
		return ErrInjected
	case Cut:
		half()
		panic(PowerCut{name})
	case CutEnd:
		_ = effect()
		panic(PowerCut{name})
	}
	return effect()
}
