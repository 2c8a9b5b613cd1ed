package doctor

import (
	"context"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/backup"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// headscale checks, if this node runs Headscale, that it answers as clients elsewhere
// would reach it, and that its certificate lasts.
func (p *patient) headscale(ctx context.Context) {
	const group = "Headscale"
	if up, err := p.Units.Active(ctx, contract.HeadscaleUnit); err != nil || !up {
		return
	}
	defer p.copies(group)
	s, err := p.ServedHeadscale(ctx)
	if err != nil {
		p.add(group, "certificate", Warning, err.Error())
	}
	if s == nil {
		return
	}
	if f := s.Fault; f != nil {
		p.add(group, s.Host, Failure, f.Summary+" "+f.Remedy)
	} else {
		p.add(group, s.Host, OK, "")
	}
	switch {
	case s.Ending != nil:
		p.add(group, "certificate", Warning, s.Ending.Summary+" "+s.Ending.Remedy)
	case !s.Until.IsZero():
		p.add(group, "certificate", OK, "until "+s.Until.UTC().Format(time.DateOnly))
	}
}

// patience bounds an exchange with a bucket.
const patience = 20 * time.Second

// lateCopy is the age at which a copy of Headscale's database is too old: some were missed.
const lateCopy = 4 * time.Hour

// copies checks those of Headscale's database, which are made every hour in each place
// that node.yaml names. A server that was just set up has none yet.
func (p *patient) copies(group string) {
	k, err := backup.Open([]byte(p.text(contract.HeadscaleStores)), patience)
	if err != nil {
		p.add(group, "copies", Warning, err.Error())
		return
	}
	var born time.Time // zero, which counts as old, if nothing tells
	if key, err := p.Files.Stat(contract.HeadscaleData + "/" + backup.NoiseKey); err == nil {
		born = key.ModTime()
	}
	for _, s := range k.Stores {
		check := "copy in " + s.String()
		newest, err := k.Newest(s)
		if err != nil {
			p.add(group, check, Warning, err.Error())
			continue
		}
		p.age(group, check, newest, born, lateCopy, "though one is made every hour: journalctl -u headscale-backup")
	}
}
