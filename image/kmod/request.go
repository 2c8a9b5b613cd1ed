package kmod

import "slices"

// requests maps modules to those that they request by name while they run, with
// request_module(9). Nothing in a module's file tells which: brcmfmac without brcmfmac-wcc
// loads and finds the chip, but there is no Wi-Fi. The comments name the place in the
// kernel's source (6.12).
//
// nil means that whoever uses the feature lists its module: the match of a rule, the
// scheduler of a service, the target of a volume.
var requests = map[string][]string{
	"af_alg":               {"algif_hash", "algif_skcipher"},                    // crypto/af_alg.c: algif-TYPE
	"auth_rpcgss":          {"rpcsec_gss_krb5"},                                 // net/sunrpc/auth_gss/gss_mech_switch.c: rpc-auth-gss-NAME
	"brcmfmac":             {"brcmfmac_wcc", "brcmfmac_cyw", "brcmfmac_bca"},    // brcmfmac/fwvid.c: brcmfmac-VENDOR
	"dm_mod":               nil,                                                 // drivers/md/dm-target.c: dm-TARGET
	"dm_snapshot":          nil,                                                 // dm-exception-store.c: both stores are in this module
	"drm_kms_helper":       nil,                                                 // drm_fb_helper.c: fbcon is compiled in
	"ip6_tables":           nil,                                                 // net/ipv6/netfilter/ip6_tables.c: ip6t_MATCH
	"ip_set":               nil,                                                 // net/netfilter/ipset/ip_set_core.c: ip_set_TYPE
	"ip_tables":            nil,                                                 // net/ipv4/netfilter/ip_tables.c: ipt_MATCH
	"ip_vs":                nil,                                                 // net/netfilter/ipvs/ip_vs_sched.c: ip_vs_SCHEDULER
	"iwlwifi":              {"iwlmvm", "iwldvm", "iwlmld"},                      // iwl-drv.c: by the firmware's kind
	"libphy":               nil,                                                 // drivers/net/phy/phy_device.c: mdio:ID, so boards list the module
	"nf_conntrack":         nil,                                                 // nf_conntrack_helper.c: nfct-helper-NAME
	"nf_conntrack_netlink": {"nf_nat"},                                          // nf_conntrack_netlink.c: nf-nat
	"nf_tables":            nil,                                                 // nf_tables_api.c: nft-expr-NAME, nft-chain-…
	"nfnetlink":            nil,                                                 // nfnetlink.c: nfnetlink-subsys-N
	"nfnetlink_log":        {"nf_conntrack_netlink"},                            // nfnetlink_log.c, to add connections to packets
	"nfnetlink_queue":      {"nf_conntrack_netlink"},                            // nfnetlink_queue.c, likewise
	"nfs":                  {"nfsv3", "nfsv4"},                                  // fs/nfs/client.c: nfsvN
	"nfsv4":                {"nfs_layout_flexfiles", "nfs_layout_nfsv41_files"}, // fs/nfs/pnfs.c: nfs-layouttype4-N
	"nft_compat":           nil,                                                 // net/netfilter/nft_compat.c: xt_, ipt_, ip6t_…
	"rc_core":              nil,                                                 // drivers/media/rc/rc-main.c: keys of remote controls
	"scsi_mod":             {"sd_mod"},                                          // scsi_scan.c: scsi:t-0xNN; handlers of SANs on demand
	"snd":                  nil,                                                 // sound/core/sound.c: a node makes no sound
	"snd_timer":            nil,                                                 // sound/core/timer.c
	"soundcore":            nil,                                                 // sound/sound_core.c
	"sunrpc":               {"auth_rpcgss"},                                     // net/sunrpc/auth.c: rpc-auth-6
	"ulpi":                 nil,                                                 // drivers/usb/common/ulpi.c: ulpi:vVENDORpPRODUCT; no board has one
	"x_tables":             nil,                                                 // net/netfilter/x_tables.c: xt_MATCH
	"xt_LOG":               {"nf_log_syslog"},                                   // xt_LOG.c: nf-logger-…
	"xt_NFLOG":             {"nfnetlink_log"},                                   // xt_NFLOG.c
	"xt_physdev":           {"br_netfilter"},                                    // xt_physdev.c
}

// requested returns the modules of the tree that x requests by name.
func (m *Modules) requested(x *module) []*module {
	var found []*module
	for _, name := range requests[x.name] {
		if y := m.files[name]; y != nil {
			found = append(found, y)
		}
	}
	return found
}

// unforeseen reports whether x requests modules by name but is missing in requests.
func unforeseen(x *module) bool {
	_, known := requests[x.name]
	return !known && slices.Contains(x.info.needs, "__request_module")
}
