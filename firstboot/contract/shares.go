package contract

// What a node whose data are encrypted, and those that keep a share of its key, agree on.
const (
	// SharesPort is where holders answer, in the tailnet alone.
	SharesPort = 4163
	// SharesDir has a holder's book. On one that is encrypted itself so is this.
	SharesDir = "var/lib/imagebuilder/shares"
	// HoldFile is there while the node keeps shares and can reach them.
	HoldFile = "run/firstboot/hold"
)
