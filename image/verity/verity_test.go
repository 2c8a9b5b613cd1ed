package verity_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/going-mobile/imagebuilder/image/verity"
)

// TestVeritysetup lets cryptsetup judge trees of one, two and three levels, and find a bit
// that has flipped.
func TestVeritysetup(t *testing.T) {
	for _, blocks := range []int{2, 3, 128, 129, 128 * 128, 128*128 + 1} {
		data := bytes.Repeat([]byte{1, 2, 3, 4}, blocks*verity.BlockSize/4)
		for i := range blocks {
			copy(data[i*verity.BlockSize:], fmt.Sprint(i))
		}
		tree, err := verity.Hash(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		if size := verity.Size(int64(len(data))); size != int64(len(tree.Levels)) {
			t.Errorf("%d blocks: the tree has %d bytes, not %d", blocks, len(tree.Levels), size)
		}
		name := filepath.Join(t.TempDir(), "data")
		if err := os.WriteFile(name, append(data, tree.Levels...), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := judge(name, blocks, tree); err != nil {
			t.Errorf("%d blocks: %v\n%s", blocks, err, out)
		}
		flip(t, name, int64(len(data)-1))
		if _, err := judge(name, blocks, tree); err == nil {
			t.Errorf("%d blocks: a bit of the last has flipped, and nobody sees it", blocks)
		}
	}
}

func judge(name string, blocks int, tree *verity.Tree) ([]byte, error) {
	return exec.Command("veritysetup", "verify", "--no-superblock", "--format=1", "--hash=sha256", "--salt=-", "--data-block-size=4096", "--hash-block-size=4096",
		fmt.Sprintf("--data-blocks=%d", blocks), fmt.Sprintf("--hash-offset=%d", blocks*verity.BlockSize), name, name, hex.EncodeToString(tree.Root[:])).CombinedOutput()
}

func flip(t *testing.T, name string, at int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

func TestHashRefuses(t *testing.T) {
	for _, size := range []int64{0, verity.BlockSize, 2*verity.BlockSize + 1} {
		if _, err := verity.Hash(bytes.NewReader(make([]byte, size)), size); err == nil {
			t.Errorf("%d bytes: no error", size)
		}
	}
	if _, err := verity.Hash(bytes.NewReader(make([]byte, verity.BlockSize)), 2*verity.BlockSize); err != io.EOF {
		t.Errorf("data that is cut short: %v", err)
	}
}
