package installer

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/disks/cutdisk"
	"github.com/going-mobile/imagebuilder/firstboot/disks/ptable"
)

const (
	stickSize = 128 << 10
	diskSize  = 256 << 10
	stickID   = "11111111-2222-3333-4444-555555555555"
)

var (
	order      = []byte("version: 1\nnode: cabin-box\n")
	unfinished = []byte("imagebuilder: making system disk of cabin-box\n")
)

// target is a disk that implements Forget.
type target struct {
	*cutdisk.Disk
	forgot int
}

func (d *target) Forget() error {
	d.forgot++
	if d.Fault != nil {
		return d.Fault()
	}
	return nil
}

func pattern(seed uint64, n int64) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// lay puts a table and random content of its partitions on a disk.
func lay(t *testing.T, d *cutdisk.Disk, id string, seed uint64, entries ...ptable.Entry) *ptable.Table {
	t.Helper()
	first := append(pattern(seed, 440), make([]byte, 72)...)
	if _, err := d.WriteAt(first, 0); err != nil {
		t.Fatal(err)
	}
	table := ptable.New(d.Size, 512, id, first)
	for i, e := range entries {
		e.ID = fmt.Sprintf("aaaaaaaa-0000-4000-8000-0000000%05d", seed*100+uint64(i))
		table.Put(e)
		if _, err := d.WriteAt(pattern(seed+uint64(i), int64(e.Sectors)*512), int64(e.First)*512); err != nil {
			t.Fatal(err)
		}
	}
	if err := table.Write(d); err != nil {
		t.Fatal(err)
	}
	read, err := ptable.Read(d, d.Size, 512)
	if err != nil {
		t.Fatal(err)
	}
	return read
}

func newStick(t *testing.T) (*cutdisk.Disk, *ptable.Table) {
	d := cutdisk.New(stickSize)
	return d, lay(t, d, stickID, 7,
		ptable.Entry{Number: contract.PartBIOS, Type: contract.TypeBIOS, Name: contract.NameBIOS, First: 40, Sectors: 4},
		ptable.Entry{Number: contract.PartBoot, Type: contract.TypeESP, Name: "boot", First: 48, Sectors: 24},
		ptable.Entry{Number: contract.PartRootA, Type: contract.TypeRootAMD64, Name: contract.NameRootA, First: 80, Sectors: 40})
}

// before is a disk on which somebody else's system is.
func before(t *testing.T) *cutdisk.Disk {
	d := cutdisk.New(diskSize)
	lay(t, d, "99999999-2222-3333-4444-555555555555", 3,
		ptable.Entry{Number: 1, Type: contract.TypeESP, First: 60, Sectors: 30}, ptable.Entry{Number: 2, Type: contract.TypeVar, First: 100, Sectors: 300})
	d.Log = nil
	return d
}

func plan(t *testing.T, table *ptable.Table) *Plan {
	t.Helper()
	p, err := New(table, diskSize, order, "SERIAL")
	if err != nil {
		t.Fatal(err)
	}
	p.edge = 20 << 10
	return p
}

// install does what the initramfs does: nothing if the plan is done.
func install(p *Plan, stick, d *cutdisk.Disk) error {
	if table, err := ptable.Read(d, d.Size, 512); err == nil && p.Done(table) {
		return nil
	}
	return p.Run(stick, &target{Disk: d}, unfinished, func(int64, int64) {})
}

// whole compares an installed disk with the stick.
func whole(p *Plan, stick, d *cutdisk.Disk) error {
	t, err := ptable.Read(d, d.Size, 512)
	if err != nil {
		return err
	}
	if t.Stale || !p.Done(t) || len(t.Entries) != 3 {
		return fmt.Errorf("the table is %+v", t)
	}
	for _, e := range append(t.Entries, ptable.Entry{First: 0, Sectors: 1}) {
		n := int64(e.Sectors) * 512
		if e.First == 0 {
			n = 440 // a BIOS starts it
		}
		a, b := make([]byte, n), make([]byte, n)
		if _, err := stick.ReadAt(a, int64(e.First)*512); err != nil {
			return err
		}
		if _, err := d.ReadAt(b, int64(e.First)*512); err != nil {
			return err
		}
		if !bytes.Equal(a, b) {
			return fmt.Errorf("partition %d differs", e.Number)
		}
	}
	return nil
}

// TestAPowerCutAtAnyMomentLeavesAllOrNothing cuts after every sector, and once more during the next
// attempt. Meanwhile the disk is as it was, or says that it is unfinished and has no table to start
// from, or is complete. In the end it is complete, with the IDs that it would have had.
func TestAPowerCutAtAnyMomentLeavesAllOrNothing(t *testing.T) {
	stick, table := newStick(t)
	base := before(t)
	done := base.Clone(diskSize)
	if err := install(plan(t, table), stick, done); err != nil {
		t.Fatal(err)
	}
	if err := whole(plan(t, table), stick, done); err != nil {
		t.Fatal(err)
	}
	random, states := rand.New(rand.NewPCG(5, 6)), map[string]int{}
	err := cutdisk.EveryCut(base, done.Log, func(d *cutdisk.Disk) error {
		p := plan(t, table)
		state, err := stateAfterCut(p, stick, base, d)
		if err != nil {
			return err
		}
		states[state]++
		again := d.Clone(diskSize)
		if err := install(p, stick, again); err != nil {
			return err
		}
		if err := whole(p, stick, again); err != nil {
			return err
		}
		if state == "whole" && len(again.Log) > 0 {
			return errors.New("a node may live there by now, and it was installed again")
		}
		if len(again.Log) == 0 {
			return nil
		}
		twice := cutdisk.Cut(d, again.Log, random.IntN(len(again.Log)+1), func() bool { return random.IntN(2) == 0 })
		if err := install(p, stick, twice); err != nil {
			return err
		}
		return whole(p, stick, twice)
	})
	if err != nil || states["untouched"] == 0 || states["unfinished"] < 1000 || states["whole"] == 0 {
		t.Errorf("%v: %v", states, err)
	}
}

func stateAfterCut(p *Plan, stick, base, d *cutdisk.Disk) (string, error) {
	first := make([]byte, 512)
	if _, err := d.ReadAt(first, 0); err != nil {
		return "", err
	}
	t, err := ptable.Read(d, d.Size, 512)
	switch {
	case bytes.HasPrefix(first, unfinished):
		if !errors.Is(err, ptable.ErrNone) {
			return "", fmt.Errorf("an unfinished disk has a table: %+v %w", t, err)
		}
		return "unfinished", nil
	case err != nil:
		return "", err
	case p.Done(t):
		return "whole", whole(p, stick, d)
	}
	a, b := make([]byte, diskSize), make([]byte, diskSize)
	_, _ = base.ReadAt(a, 0)
	_, _ = d.ReadAt(b, 0)
	if !bytes.Equal(a, b) {
		return "", errors.New("the disk was changed and does not say so")
	}
	return "untouched", nil
}

// TestEveryCallFailsInTurn: each call of the stick and of the disk. The disk is complete only if
// nothing failed, the error says which device failed, and the next attempt is as good as the first.
func TestEveryCallFailsInTurn(t *testing.T) {
	ofStick, ofDisk := 0, 0
	for at := 0; ; at++ {
		stick, table := newStick(t)
		p, d, calls := plan(t, table), before(t), 0
		fail := func(which error) func() error {
			return func() error {
				if calls++; calls == at+1 {
					return which
				}
				return nil
			}
		}
		a, b := errors.New("a"), errors.New("b")
		stick.Fault, d.Fault = fail(a), fail(b)
		err := p.Run(stick, &target{Disk: d}, unfinished, func(int64, int64) {})
		stick.Fault, d.Fault = nil, nil
		if calls <= at {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		switch {
		case errors.Is(err, a) && errors.Is(err, ErrStick):
			ofStick++
		case errors.Is(err, b) && errors.Is(err, ErrDisk), errors.Is(err, ErrOther): // if one copy of the table cannot be read, the other copy is found
			ofDisk++
		default:
			t.Fatalf("call %d: %v", at, err)
		}
		if err := install(p, stick, d); err != nil {
			t.Fatal(err)
		}
		if err := whole(p, stick, d); err != nil {
			t.Fatalf("after call %d failed: %v", at, err)
		}
	}
	if ofStick != 3 || ofDisk < 20 {
		t.Errorf("%d calls of the stick and %d of the disk failed", ofStick, ofDisk)
	}
}

// liar loses one bit of one sector whenever that sector is written.
type liar struct {
	target
	sector int64
	lie    []byte
}

func (d *liar) Forget() error {
	if s := d.Sectors[d.sector]; s != nil && !bytes.Equal(s, d.lie) {
		d.lie = bytes.Clone(s)
		d.lie[100] ^= 1
		d.Sectors[d.sector] = d.lie
	}
	return d.target.Forget()
}

// TestADiskThatDoesNotKeepWhatItWasGiven is found out before it has a table.
func TestADiskThatDoesNotKeepWhatItWasGiven(t *testing.T) {
	stick, table := newStick(t)
	for _, sector := range []int64{40, 48, 71, 80, 119} {
		d := &liar{target: target{Disk: before(t)}, sector: sector}
		err := plan(t, table).Run(stick, d, unfinished, func(int64, int64) {})
		if !errors.Is(err, ErrOther) {
			t.Errorf("sector %d: %v", sector, err)
		}
		if _, err := ptable.Read(d, diskSize, 512); !errors.Is(err, ptable.ErrNone) {
			t.Errorf("sector %d: the disk has a table: %v", sector, err)
		}
	}
	d := &liar{target: target{Disk: before(t)}, sector: 2} // of the table itself
	if err := plan(t, table).Run(stick, d, unfinished, func(int64, int64) {}); !errors.Is(err, ErrOther) {
		t.Errorf("the table: %v", err)
	}
	if first := d.Sectors[0]; !bytes.HasPrefix(first, unfinished) { // else the next start would take it for done
		t.Errorf("the disk begins with %q", first[:min(len(first), 40)])
	}
}

// secretsOn returns how many sectors of a stick's boot partition are on a disk.
func secretsOn(stick, d *cutdisk.Disk, boot *ptable.Entry) (n int) {
	for s := int64(boot.First); s < int64(boot.End()); s++ {
		if bytes.Equal(stick.Sectors[s], d.Sectors[s]) {
			n++
		}
	}
	return n
}

// TestSecretsComeLast: the partition with node.yaml is read from the stick when everything else is
// on the disk and was verified, and only the first sector is missing.
func TestSecretsComeLast(t *testing.T) {
	stick, table := newStick(t)
	boot := table.Entry(contract.PartBoot)
	d, early := &target{Disk: before(t)}, 0
	d.Fault = func() error {
		if d.forgot < 2 {
			early += secretsOn(stick, d.Disk, boot)
		}
		return nil
	}
	if err := plan(t, table).Run(stick, d, unfinished, func(int64, int64) {}); err != nil || early > 0 || d.forgot != 4 {
		t.Errorf("%v, %d sectors were there early", err, early)
	}
	tables := 0
	for _, w := range d.Log {
		if bytes.HasPrefix(w.Data, []byte("EFI PART")) {
			tables++
		}
		if w.Data != nil && w.Sector >= int64(boot.First) && w.Sector < int64(boot.End()) && tables != 2 {
			t.Fatalf("secrets come to a disk with %d copies of its table", tables)
		}
	}
}

// TestADiskThatFailsHoldsNoSecret: whichever call fails, once or from then on, and whether or not
// the data of that call reached the disk. A disk that cannot be written any more either is
// complete, or the error says that it was not erased.
func TestADiskThatFailsHoldsNoSecret(t *testing.T) {
	withdrawn, kept := 0, 0
	for _, forever := range []bool{false, true} {
		for at := 1; ; at++ {
			stick, table := newStick(t)
			d, p, calls := before(t), plan(t, table), 0
			d.Fault = func() error {
				if calls++; calls == at || forever && calls > at {
					return errors.New("input/output error")
				}
				return nil
			}
			err := p.Run(stick, &target{Disk: d}, unfinished, func(int64, int64) {})
			d.Fault = nil
			if err == nil {
				break
			}
			secrets := secretsOn(stick, d, table.Entry(contract.PartBoot))
			switch {
			case errors.Is(err, ErrKept):
				kept++
			case secrets > 0:
				t.Fatalf("call %d failed (from then on: %v), and %d sectors with secrets are left: %v", at, forever, secrets, err)
			default:
				withdrawn++
			}
		}
	}
	if withdrawn < 40 || kept < 3 {
		t.Errorf("%d times nothing was left, %d times perhaps", withdrawn, kept)
	}
}

// bad is a disk some of whose sectors cannot be written any more after a moment. The data of the
// first such write may be there in spite of the error.
type bad struct {
	target
	sectors map[int64]bool
	after   int // calls of Forget
	lands   bool
}

func (d *bad) WriteAt(b []byte, off int64) (int, error) {
	for s := off / 512; s*512 < off+int64(len(b)); s++ {
		if d.sectors[s] && d.forgot >= d.after {
			if d.lands {
				d.lands = false
				_, _ = d.target.WriteAt(b, off)
			}
			return 0, errors.New("input/output error")
		}
	}
	return d.target.WriteAt(b, off)
}

// TestABadFirstSector: the first sector cannot be marked again. A disk that became complete in
// spite of the error must lose its table before it loses anything else, or stay as it is.
func TestABadFirstSector(t *testing.T) {
	for _, lands := range []bool{false, true} {
		for name, test := range map[string]struct {
			sectors []int64
			kept    bool
		}{"alone": {[]int64{0}, false}, "and its table": {[]int64{0, 1, diskSize/512 - 1}, true}} {
			stick, table := newStick(t)
			d := &bad{target: target{Disk: before(t)}, sectors: map[int64]bool{}, after: 3, lands: lands}
			for _, s := range test.sectors {
				d.sectors[s] = true
			}
			p := plan(t, table)
			err := p.Run(stick, d, unfinished, func(int64, int64) {})
			if !errors.Is(err, ErrDisk) || errors.Is(err, ErrKept) != test.kept {
				t.Errorf("%s: %v", name, err)
			}
			if secrets := secretsOn(stick, d.Disk, table.Entry(contract.PartBoot)); secrets > 0 != test.kept {
				t.Errorf("%s: %d sectors with secrets are left", name, secrets)
			}
			if got, err := ptable.Read(d, diskSize, 512); err == nil && p.Done(got) {
				if err := whole(p, stick, d.Disk); err != nil {
					t.Errorf("%s: the next start takes it for done: %v", name, err)
				}
			}
		}
	}
}

// TestErasingGoesOn after a place that cannot be erased, but not for ever.
func TestErasingGoesOn(t *testing.T) {
	d := &bad{target: target{Disk: cutdisk.New(64 * chunk)}, sectors: map[int64]bool{}}
	c := copier{disk: d, progress: func(int64, int64) {}}
	for n := range 40 {
		if _, err := d.target.WriteAt(bytes.Repeat([]byte("secret  "), 64), int64(n)*chunk); err != nil {
			t.Fatal(err)
		}
	}
	d.sectors[chunk/512] = true
	if err := c.erase(span{0, 40 * chunk}); err == nil || d.Sectors[0][0] != 0 || d.Sectors[chunk/512][0] == 0 || d.Sectors[39*chunk/512][0] != 0 {
		t.Errorf("%v", err)
	}
	tries := 0
	for n := range int64(40) {
		d.sectors[n*chunk/512] = true
	}
	c.progress = func(int64, int64) { tries++ }
	if err := c.erase(span{0, 40 * chunk}); err == nil || tries != patience {
		t.Errorf("%d tries: %v", tries, err)
	}
}

// TestNoTwins: a disk and its stick share no ID, nor do two disks; the same order on the same disk
// gives the same IDs.
func TestNoTwins(t *testing.T) {
	_, table := newStick(t)
	ids := func(order, serial string) map[string]bool {
		p, err := New(table, diskSize, []byte(order), serial)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]bool{p.Table.ID: true}
		for _, e := range p.Table.Entries {
			out[e.ID] = true
		}
		if len(out) != 4 {
			t.Errorf("%v: some are the same", out)
		}
		return out
	}
	mine := ids("order", "1")
	for _, other := range []map[string]bool{ids("another", "1"), ids("order", "2"), ids("order", "")} {
		for id := range other {
			if mine[id] {
				t.Errorf("%s is there twice", id)
			}
		}
	}
	for id := range ids("order", "1") {
		if !mine[id] {
			t.Errorf("%s was another", id)
		}
	}
	for _, e := range table.Entries {
		if mine[e.ID] || mine[table.ID] {
			t.Error("the stick is a twin")
		}
	}
}

// TestOnlyWhatAnImageHolds: partitions that a first start creates are not copied.
func TestOnlyWhatAnImageHolds(t *testing.T) {
	_, table := newStick(t)
	table.Put(ptable.Entry{Number: contract.PartRootB, Type: contract.TypeRootAMD64, Name: contract.NameRootB, First: 128, Sectors: 8})
	table.Put(ptable.Entry{Number: contract.PartData, Type: contract.TypeVar, First: 140, Sectors: 8})
	p := plan(t, table)
	if len(p.Table.Entries) != 3 || p.Table.Entry(contract.PartRootB) != nil || p.Table.Entry(contract.PartData) != nil || len(p.spans) != 3 {
		t.Errorf("%+v", p.Table.Entries)
	}
	if _, err := New(&ptable.Table{Scheme: contract.MBR, SectorSize: 512}, diskSize, order, ""); err == nil {
		t.Error("the card of a Pi is installed")
	}
	if _, err := New(ptable.New(stickSize, 512, stickID, make([]byte, 512)), diskSize, order, ""); err == nil {
		t.Error("an empty stick is installed")
	}
}

// TestProgressReachesTheEnd, and never goes back.
func TestProgressReachesTheEnd(t *testing.T) {
	stick, table := newStick(t)
	d := &target{Disk: before(t)}
	last, end := int64(0), int64(0)
	if err := plan(t, table).Run(stick, d, unfinished, func(done, all int64) {
		if done <= last || done > all {
			t.Errorf("%d after %d of %d", done, last, all)
		}
		last, end = done, all
	}); err != nil {
		t.Fatal(err)
	}
	if last != end || end != 2*68*512 || d.forgot != 4 {
		t.Errorf("%d of %d, forgot %d times", last, end, d.forgot)
	}
}
