package fat

import (
	"fmt"
	"sort"
)

// geometry is the layout of a volume, in sectors of bytesPerSector bytes.
type geometry struct {
	bytesPerSector    int64
	sectorsPerCluster int64
	reserved          int64
	fats              int64
	fatSectors        int64
	totalSectors      int64
	rootCluster       uint32
	// clusters is the number of data clusters; they are numbered from 2.
	clusters int64
}

// Sectors of the reserved area, as Microsoft and everybody else place them.
const (
	fsInfoSector     = 1
	backupBootSector = 6
	reservedSectors  = 32
)

// plan lays out a volume with the largest clusters of at most 4 KiB (more for huge volumes)
// that still give the number of clusters that FAT32 requires.
func plan(opt Options) (geometry, error) {
	if opt.Size%sectorSize != 0 || opt.Size < MinSize || opt.Size > maxSize {
		return geometry{}, fmt.Errorf("a FAT32 volume of %d bytes cannot be: choose a multiple of 512 between %d and %d", opt.Size, int64(MinSize), int64(maxSize))
	}
	for size := clusterSize(opt.Size); size >= sectorSize; size /= 2 {
		if g := layout(opt.Size/sectorSize, size/sectorSize); g.clusters >= minClusters {
			return g, nil
		}
	}
	return geometry{}, fmt.Errorf("a volume of %d bytes is too small for FAT32", opt.Size)
}

// clusterSize is the preferred cluster size in bytes: that of fatgen103's table
// DskTableFAT32 for volumes over 8 GiB, and 4 KiB for smaller ones.
func clusterSize(size int64) int64 {
	switch {
	case size <= 8<<30:
		return 4 << 10
	case size <= 16<<30:
		return 8 << 10
	case size <= 32<<30:
		return 16 << 10
	}
	return 32 << 10
}

// layout finds the smallest FAT that covers all clusters. The data area starts at a
// multiple of the cluster size and of 4 KiB, which suits flash memory.
func layout(total, perCluster int64) geometry {
	align := max(perCluster, 8)
	with := func(fatSectors int64) geometry {
		g := geometry{bytesPerSector: sectorSize, sectorsPerCluster: perCluster, fats: 2, totalSectors: total, rootCluster: 2, fatSectors: fatSectors}
		g.reserved = reservedSectors + (align-(reservedSectors+2*fatSectors)%align)%align
		g.clusters = max(0, (total-g.reserved-2*fatSectors)/perCluster)
		return g
	}
	// A larger FAT leaves fewer clusters to cover, so a binary search finds the smallest.
	return with(int64(sort.Search(int(total/(perCluster*sectorSize/4)+2), func(n int) bool {
		g := with(int64(n))
		return n > 0 && 4*(g.clusters+2) <= g.fatSectors*sectorSize
	})))
}

func (g *geometry) clusterSize() int64 { return g.sectorsPerCluster * g.bytesPerSector }
func (g *geometry) dataStart() int64 {
	return (g.reserved + g.fats*g.fatSectors) * g.bytesPerSector
}
func (g *geometry) fatStart(i int64) int64 {
	return (g.reserved + i*g.fatSectors) * g.bytesPerSector
}

// offset is where a cluster begins on the volume.
func (g *geometry) offset(cluster uint32) int64 {
	return g.dataStart() + int64(cluster-2)*g.clusterSize()
}

// valid reports whether cluster is a data cluster.
func (g *geometry) valid(cluster uint32) bool {
	return cluster >= 2 && int64(cluster) < g.clusters+2
}

// clustersFor is the number of clusters that hold n bytes.
func (g *geometry) clustersFor(n int64) int64 {
	return (n + g.clusterSize() - 1) / g.clusterSize()
}
