package host

// SetEtcd lets a test be the etcd.
func SetEtcd(address string) { etcd = address }

// StaysSealed is what firstboot hears when a TPM refuses.
var StaysSealed = staysSealed

// Verdict is what is said of a trial that may have ended.
var Verdict = verdict
