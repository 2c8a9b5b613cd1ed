//go:build !linux

package squashfs

import (
	"testing"

	"github.com/going-mobile/imagebuilder/image/tree"
)

func judgeExtraction(t *testing.T, _ string, _ *tree.Tree) {
	t.Log("NOT LINUX: no extraction, only the listing of unsquashfs was compared")
}

func judgeKernel(t *testing.T, _ string, _ *tree.Tree) {
	t.Log("NOT LINUX: no kernel has judged this image, only unsquashfs")
}

func judgeHugeHole(t *testing.T, _ string, _ int64) {
	t.Log("NOT LINUX: no kernel has judged this image")
}
