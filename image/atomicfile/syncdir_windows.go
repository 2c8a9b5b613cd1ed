package atomicfile

// SyncDir does nothing: Windows has no fsync for directories.
func SyncDir(string) error { return nil }
