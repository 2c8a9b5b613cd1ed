// Package crashtest is how a call to the outside fails in tests that break each in
// turn, and want the same end after a new start.
package crashtest

import "errors"

// Fault is a way to fail.
type Fault int

// The ways.
const (
	None   Fault = iota
	Before       // error, nothing happened
	After        // error, though it happened
	Cut          // the power goes before it happens, or halfway
	CutEnd       // the power goes when it has just happened
)

// PowerCut is what Do panics with.
type PowerCut struct{ At string }

// ErrInjected is what a call fails with.
var ErrInjected = errors.New("injected fault")

// Do runs the effect of the call of that name, or what the fault leaves of it: half,
// where the power goes.
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
