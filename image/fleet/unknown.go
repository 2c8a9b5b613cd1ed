package fleet

import (
	"fmt"

	"github.com/going-mobile/imagebuilder/firstboot/nearest"
)

// UnknownError says that the fleet's file has nothing by that name.
type UnknownError struct {
	Kind  string // node or site
	Name  string
	Known []string
}

func (e *UnknownError) Error() string {
	if near := nearest.Name(e.Name, e.Known); near != "" {
		return fmt.Sprintf("the fleet has no %s %q; did you mean %q?", e.Kind, e.Name, near)
	}
	return fmt.Sprintf("the fleet has no %s %q; it has %v", e.Kind, e.Name, e.Known)
}
