package contract

// What a node whose data are encrypted and the holders of its key's shares agree on.
const (
	// SharesPort is the TCP port where holders answer, in the tailnet only.
	SharesPort = 4163
	// SharesDir has a holder's records. On a holder that is itself encrypted, they are,
	// too.
	SharesDir = "var/lib/imagebuilder/shares"
	// HoldFile exists while the node keeps others' shares and can read them.
	HoldFile = "run/firstboot/hold"
)
