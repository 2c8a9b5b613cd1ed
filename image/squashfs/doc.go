// Package squashfs writes and reads squashfs 4.0 file systems, the read-only root of an
// image.
//
// Write turns a tree into an image that depends only on the tree and the options, not on
// the number of processors, the clock, the host's users or the state of the cache. It
// compresses in parallel with bounded memory. It keeps hard links, devices, extended
// attributes, holes and 32-bit owners, and stores equal contents once. Open reads an image,
// whatever program made it.
//
// It refuses what squashfs or the tree cannot represent (attributes outside user., trusted.
// and security., times before 1970) instead of dropping it. It does not append to images.
// It writes only zstd: every kernel since 4.14 reads it, and no other compression is both
// small and fast to read.
//
// The format is described in the kernel's Documentation/filesystems/squashfs.rst
// and fs/squashfs/squashfs_fs.h; names here follow the latter.
package squashfs
