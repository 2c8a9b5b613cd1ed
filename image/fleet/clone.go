package fleet

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// ownModule is the first line of imagebuilder's go.mod.
const ownModule = "module github.com/going-mobile/imagebuilder"

// outsideClone refuses imagebuilder's own clone, and directories in it. A fleet there would
// make the version of everything built from the clone "-dirty", and "git clean -fdX" would
// delete what Git ignores: the secrets, of which there is no other copy.
func outsideClone(dir string) error {
	at, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	for ; ; at = filepath.Dir(at) {
		text, _ := os.ReadFile(filepath.Join(at, "go.mod")) // usually there is no such file
		if first, _, _ := strings.Cut(string(text), "\n"); strings.TrimSpace(first) == ownModule {
			return fmt.Errorf("%s is the clone of imagebuilder: 'git clean' removes secrets there, and its versions become -dirty. Name a directory beside it, such as %s", at, filepath.Join(filepath.Dir(at), "fleet"))
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}
