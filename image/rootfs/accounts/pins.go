package accounts

import "fmt"

// pin is the uid and gid that a system user or group has in every image.
type pin struct {
	uid uint32 // of the user of this name, if there is one
	gid uint32 // of the group of this name, if there is one
}

// pins fixes the numbers that Debian would assign in the order of installation. /var
// outlives the image: a user whose uid changed would lose its files, or own another user's.
// So numbers are never reused.
//
// adduser counts up from 100, systemd-sysusers down from 999; the current values are those
// of a fresh Debian 13.
var pins = map[string]pin{
	"_rpc":    {uid: 100},
	"_ssh":    {gid: 101},
	"tcpdump": {uid: 101, gid: 103},
	"netdev":  {gid: 102},
	"statd":   {uid: 102},

	"systemd-journal":         {gid: 999},
	"systemd-network":         {uid: 998, gid: 998},
	"systemd-timesync":        {uid: 997, gid: 997},
	"messagebus":              {uid: 996, gid: 996},
	"input":                   {gid: 995},
	"sgx":                     {gid: 994},
	"clock":                   {gid: 993},
	"kvm":                     {gid: 992},
	"render":                  {gid: 991},
	"systemd-resolve":         {uid: 990, gid: 990},
	"sshd":                    {uid: 989, gid: 989},
	"systemd-coredump":        {uid: 988, gid: 988},
	"systemd-oom":             {uid: 987, gid: 987},
	"systemd-journal-remote":  {uid: 986, gid: 986},
	"systemd-journal-upload":  {uid: 985, gid: 985},
	"systemd-journal-gateway": {uid: 984, gid: 984},
	"tss":                     {uid: 983, gid: 983},
	"polkitd":                 {uid: 982, gid: 982},
}

// unpinned is the error for a name that is not in pins.
func unpinned(kind, name, where string) error {
	return fmt.Errorf("%s: system %s %q has no pinned number: its number would depend on the order of installation while its files on /var stay; "+
		"give it one in an overlay's users, in a sysusers.d file with an explicit number, or in image/rootfs/accounts/pins.go", where, kind, name)
}

func pinnedUID(name, where string) (uint32, error) {
	if p := pins[name]; p.uid != 0 {
		return p.uid, nil
	}
	return 0, unpinned("user", name, where)
}

func pinnedGID(name, where string) (uint32, error) {
	if p := pins[name]; p.gid != 0 {
		return p.gid, nil
	}
	return 0, unpinned("group", name, where)
}
