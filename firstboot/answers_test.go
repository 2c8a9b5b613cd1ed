package firstboot

import (
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// TestABuilderReadsTheStatus: what a builder knows of a node is spelled in package contract,
// and written here.
func TestABuilderReadsTheStatus(t *testing.T) {
	made := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	said := Status{State: Waiting, Program: "1.2", Slot: "a", Boot: Boot{Image: "1.3", Made: &made, Good: "b", Trial: "a", Tries: 2},
		Problem: &Problem{Code: "key-spent", Summary: "spent", Remedy: "a new one"}, Notice: &Problem{Code: "ntp", Summary: "no clock", Remedy: "wait"}}
	want := contract.Status{State: contract.StateWaiting, Program: "1.2", Slot: "a", Image: "1.3", Made: made, Good: "b", Trial: "a", Tries: 2,
		Problem: contract.Trouble{Code: "key-spent", Summary: "spent", Remedy: "a new one"}, Notice: contract.Trouble{Code: "ntp", Summary: "no clock", Remedy: "wait"}}
	got, err := contract.ParseStatus(said.JSON())
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("(-want +got), %v:\n%s", err, diff)
	}
	for i := range reflect.TypeFor[contract.Status]().NumField() {
		if reflect.ValueOf(want).Field(i).IsZero() {
			t.Errorf("this test says nothing of the field %s", reflect.TypeFor[contract.Status]().Field(i).Name)
		}
	}
}
