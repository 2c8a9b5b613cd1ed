package host

import "time"

// SetEtcd lets a test be the etcd.
func SetEtcd(address string) { etcd = address }

// SetControlTime lets a test wait less for a server that is silent.
func SetControlTime(d time.Duration) { controlTime = d }

// StaysSealed is what firstboot hears when a TPM refuses.
var StaysSealed = staysSealed

// Verdict is what is said of a trial that may have ended.
var Verdict = verdict
