package report

// EFIVariable is where the kernel shows a variable of UEFI itself (UEFI 2.10,
// 3.3), below the root directory.
func EFIVariable(name string) string {
	return "sys/firmware/efi/efivars/" + name + "-8be4df61-93ca-11d2-aa0d-00e098032b8c"
}

// EFISwitch reads a variable that is on or off, like SecureBoot and SetupMode:
// four bytes of attributes and one that is 1 or 0. What is neither is not known.
func EFISwitch(content string) (on, known bool) {
	if len(content) != 5 || content[4] > 1 {
		return false, false
	}
	return content[4] == 1, true
}
