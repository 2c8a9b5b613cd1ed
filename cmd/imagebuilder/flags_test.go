package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// everyCommand calls f for a command and all below it.
func everyCommand(cmd *cobra.Command, f func(*cobra.Command)) {
	f(cmd)
	for _, sub := range cmd.Commands() {
		everyCommand(sub, f)
	}
}

// TestEveryFlagSaysWhatItWants: every flag type that refuses some values has words for it.
func TestEveryFlagSaysWhatItWants(t *testing.T) {
	seen := 0
	everyCommand(newRoot(), func(cmd *cobra.Command) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			seen++
			for _, odd := range []string{"", "odd", `"`} {
				if kind := f.Value.Type(); f.Value.Set(odd) != nil && flagTypes[kind] == "" {
					t.Errorf("%s --%s refuses %q and says not what it wants: flagTypes lacks %q", cmd.CommandPath(), f.Name, odd, kind)
				}
			}
		})
	})
	if seen < 50 {
		t.Errorf("only %d flags were looked at", seen)
	}
}

// TestAFlagHasOneShorthand: what a flag is called in short does not depend on the command.
func TestAFlagHasOneShorthand(t *testing.T) {
	short := map[string]string{} // by flag
	everyCommand(newRoot(), func(cmd *cobra.Command) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if other, seen := short[f.Name]; seen && other != f.Shorthand {
				t.Errorf("%s --%s is %q in short, and %q elsewhere", cmd.CommandPath(), f.Name, f.Shorthand, other)
			}
			short[f.Name] = f.Shorthand
		})
	})
	if short["yes"] != "y" || short["fleet"] != "f" {
		t.Errorf("the usual ones are not known: %v", short)
	}
}

// TestFlagsThatExcludeEachOther are wrong usage in our words, on every command
// whose flags have groups.
func TestFlagsThatExcludeEachOther(t *testing.T) {
	pairs := map[string]string{} // of flags, by command lines that have both
	everyCommand(newRoot(), func(cmd *cobra.Command) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			for _, group := range f.Annotations[exclusive] {
				line := strings.Join(strings.Fields(cmd.CommandPath())[1:], " ")
				for name := range strings.FieldsSeq(group) {
					line += " --" + name + "=" + cmd.Flag(name).DefValue
				}
				pairs[line] = group
			}
		})
	})
	if len(pairs) == 0 {
		t.Error("no command has such flags: does cobra note them elsewhere now?")
	}
	for line, group := range pairs {
		root := newRoot()
		root.SetArgs(strings.Fields(line))
		var usage *usageError
		want := "--" + strings.ReplaceAll(group, " ", " and --") + " exclude each other"
		if err := root.ExecuteContext(t.Context()); !errors.As(err, &usage) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}
