package atomicfile

import "os"

// inherit does nothing: on Windows a directory determines the owner of its files.
func inherit(*os.File, string) {}

func inheritDir(string) {}
