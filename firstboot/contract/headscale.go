package contract

// What an image with Headscale has in it.
const (
	// HeadscaleID is the UID and GID of Headscale's user. It is fixed, as the
	// user's files in /var outlive the image.
	HeadscaleID = 810
	// HeadscaleUnit is its unit. An image that has the unit file has Headscale.
	HeadscaleUnit = "headscale.service"
	// HeadscaleBackupUnit copies what is in HeadscaleData.
	HeadscaleBackupUnit = "headscale-backup.service"
	// HeadscaleData has its database and keys. HeadscaleBackup has copies of
	// them, unless node.yaml names other places.
	HeadscaleData   = "/var/lib/headscale"
	HeadscaleBackup = "/var/backups/headscale"
	// HeadscaleStores says where copies are kept, in the form of node.yaml's
	// control: backup:.
	HeadscaleStores = "/etc/headscale/backup.yaml"
	// STUNPort is the UDP port where clients learn their own address (RFC
	// 8489).
	STUNPort = 3478
	// TailnetDomain is the domain below which MagicDNS names nodes; .internal
	// is reserved for private networks (ICANN, July 2024).
	TailnetDomain = "tailnet.internal"
)
