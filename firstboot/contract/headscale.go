package contract

// What an image with Headscale has in it.
const (
	// HeadscaleID is the user's and the group's number: what lies in /var outlives
	// the image.
	HeadscaleID = 810
	// HeadscaleUnit is its unit, whose file says that an image has it.
	HeadscaleUnit = "headscale.service"
	// HeadscaleBackupUnit is the one that copies what is in HeadscaleData.
	HeadscaleBackupUnit = "headscale-backup.service"
	// HeadscaleData is where its database and keys are, HeadscaleBackup where
	// copies of them go unless node.yaml says otherwise.
	HeadscaleData   = "/var/lib/headscale"
	HeadscaleBackup = "/var/backups/headscale"
	// HeadscaleStores tells where copies are kept, as node.yaml's control: backup:
	// does.
	HeadscaleStores = "/etc/headscale/backup.yaml"
	// STUNPort is where clients learn their own address (RFC 8489), UDP.
	STUNPort = 3478
	// TailnetDomain is the domain below which MagicDNS names nodes; .internal is
	// reserved for networks of one's own (ICANN, July 2024).
	TailnetDomain = "tailnet.internal"
)
