package deb

import (
	"io"

	"github.com/going-mobile/imagebuilder/image/fetch"
)

// Kind is the kind of the cache entries with decoded packages.
const Kind = "deb"

// content is a regular file of a package.
type content struct {
	in *fetch.File
	at *extent
}

func (c *content) Size() int64                  { return c.at.size }
func (c *content) SHA256() string               { return hexSum(c.at.sum) }
func (c *content) Open() (io.ReadCloser, error) { return c.in.Section(c.at.off, c.at.size, c.SHA256()) }

// ChecksItself marks content as tree.Checked: a File's Section verifies its digest.
func (c *content) ChecksItself() {}
