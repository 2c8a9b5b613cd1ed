package efiboot

// Variables is the directory in which the kernel shows the firmware's variables, from the root
// directory.
const Variables = "sys/firmware/efi/efivars"

// Global is the vendor GUID of UEFI's own variables (UEFI 2.10, 3.3). A variable's file is
// NAME-GUID.
const Global = "8be4df61-93ca-11d2-aa0d-00e098032b8c"

// Trusted is the file of the variable db: the signers whose programs the firmware starts where
// Secure Boot is on (UEFI 2.10, 32.6.1), among them certificates in DER form.
const Trusted = Variables + "/db-d719b2cb-3d3a-4596-a3bc-dad00e67656f"

// Variable returns the file of one of UEFI's own global variables.
func Variable(name string) string { return Variables + "/" + name + "-" + Global }

// Switch reads a variable that is on or off, such as SecureBoot and SetupMode: four bytes of
// attributes, then one byte that is 1 or 0. known is false for any other content.
func Switch(content string) (on, known bool) {
	if len(content) != 5 || content[4] > 1 {
		return false, false
	}
	return content[4] == 1, true
}
