// Package control brings the fleet's Headscale into service, and opens clients of it.
//
// Init is for a Headscale of the fleet's own, once the machine with role control has been
// switched on. Over ssh it creates the API key. Over the API it creates the user, sets the
// policy, and shuts out revoked nodes again, in case the database was restored from before
// their revocation. Then it gives the machine the key with which it joins its own tailnet. Its
// ssh talks only to the machine that shows the host key made at home for it. It does not
// replace an API key that it finds, except a valid one in its last month. Every step can be
// repeated.
//
// Client and SetPolicy talk to the server that fleet.yaml names, over https and with the
// fleet's API key; it may be somebody else's.
package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/mint"
	"github.com/going-mobile/imagebuilder/image/replace"
	"github.com/going-mobile/imagebuilder/image/revoke"
	"github.com/going-mobile/imagebuilder/image/vps"
)

// Done says what Init did, or found to be done.
type Done struct {
	Node string
	// Created says that the API key is new. Ended is when the key it replaces would have
	// expired, the zero time if it replaces none.
	Created bool
	Ended   time.Time
	// Policy is what became of the server's policy.
	Policy *Policy
	// Member says that the machine was in its tailnet already; otherwise it has been given a
	// key, and joins.
	Member bool
	// Again is what a database restored from a backup had forgotten of revocations.
	Again *revoke.Found
	// Forgotten are the nodes that are no members, and whose last key a restored database does
	// not know: they need another.
	Forgotten []string
}

// Address is where the machine is reached while the name in fleet.yaml does not lead there.
// The zero value means that name.
type Address struct {
	SSH string // HOST or HOST:PORT
	// APIPort is the port of Headscale's API on that host, "" for the port in fleet.yaml.
	APIPort string
	// Flag is how the user names such an address, for errors; "" if that is not possible.
	Flag string
}

// keyLife is how long a new API key is valid.
const keyLife = 365 * 24 * time.Hour

// lastMonth is how long before its expiry an API key is warned about and renewed.
const lastMonth = 30 * 24 * time.Hour

// EndsSoon returns when the client's API key expires, the zero time if not within lastMonth.
func EndsSoon(ctx context.Context, client *headscale.Client, now time.Time) (time.Time, error) {
	end, err := client.APIKeyEnds(ctx)
	if err != nil || end.IsZero() || end.After(now.Add(lastMonth)) {
		return time.Time{}, err
	}
	return end, nil
}

// Init brings the fleet's Headscale into service.
func Init(ctx context.Context, f *fleet.Fleet, address Address, now func() time.Time) (*Done, error) {
	name := f.Control()
	if name == "" {
		return nil, errors.New("no node of the fleet has role control: its Headscale is somebody else's")
	}
	at, err := vps.Find(f, address.SSH, address.Flag)
	if err != nil {
		return nil, err
	}
	s := &server{fleet: f, name: name, address: address, at: at, now: now}
	defer s.close()
	d := &Done{Node: name}
	if d.Created, err = s.apiKey(ctx); err != nil {
		return nil, err
	}
	if !d.Created {
		if d.Ended, err = s.renew(ctx); err != nil {
			return nil, err
		}
		d.Created = !d.Ended.IsZero()
	}
	if d.Policy, err = s.furnish(ctx); err != nil {
		return nil, err
	}
	if d.Again, err = revoke.Again(ctx, s.fleet, s.api); err != nil {
		return nil, err
	}
	if d.Forgotten, err = s.forgotten(ctx); err != nil {
		return nil, err
	}
	d.Member, err = s.join(ctx)
	return d, err
}

// Client returns a client of the fleet's Headscale, with the fleet's API key.
func Client(f *fleet.Fleet) (*headscale.Client, error) {
	key, err := f.APIKey()
	if err != nil {
		return nil, err
	}
	client, err := connect(f, key)
	if err != nil {
		return nil, err
	}
	client.Renewal(f.NextAPIKey(true))
	return client, nil
}

func connect(f *fleet.Fleet, key secret.String) (*headscale.Client, error) {
	ca, err := f.HeadscaleCA()
	if err != nil {
		return nil, err
	}
	return headscale.New(f.Cluster.Headscale.URL, key, ca)
}

// server is the machine that runs Headscale.
type server struct {
	fleet   *fleet.Fleet
	name    string
	address Address   // as it was given
	at      vps.Place // of its ssh
	now     func() time.Time
	shell   *vps.Shell // nil until ssh is first needed
	api     *headscale.Client
}

func (s *server) close() {
	if s.shell != nil {
		s.shell.Close()
	}
}

// apiKey checks the fleet's API key, or creates it if there is none.
func (s *server) apiKey(ctx context.Context) (created bool, err error) {
	key, err := s.fleet.APIKey()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if key, err = s.createKey(ctx, false); err != nil {
			return false, err
		}
		created = true
	case err != nil:
		return false, errors.Join(err, s.fleet.CanKeepAPIKey())
	}
	if err := s.open(key); err != nil {
		return false, err
	}
	_, err = s.api.Users(ctx)
	if errors.Is(err, headscale.ErrUnauthorized) && !created {
		return false, fmt.Errorf("there is an API key already in %s, which %s does not take: if it is of an earlier server, or a year old, remove it and do this again",
			s.fleet.Cluster.Headscale.APIKey, s.name)
	}
	if err != nil {
		return false, s.unreached(ctx, err, created)
	}
	return created, nil
}

// open opens a client of the machine's API.
func (s *server) open(key secret.String) (err error) {
	if s.api, err = connect(s.fleet, key); err != nil {
		return err
	}
	if s.address.SSH != "" {
		s.api.DialAt(s.at.Host, s.address.APIPort)
	}
	return nil
}

// renew creates the next API key while the present one is still valid. ended is when the
// present one would have expired. It is zero if nothing was done: because the key is valid
// for more than a month, the server does not tell, or a new key could not be kept.
func (s *server) renew(ctx context.Context) (ended time.Time, err error) {
	end, unknown := EndsSoon(ctx, s.api, s.now())
	if unknown != nil || end.IsZero() || s.fleet.CanKeepAPIKey() != nil {
		return time.Time{}, nil
	}
	key, err := s.createKey(ctx, true)
	if err != nil {
		return time.Time{}, fmt.Errorf("the API key ends on %s, and no other could be made: %w", end.Format(time.DateOnly), err)
	}
	return end, s.open(key)
}

// unreached explains why Headscale does not answer here. Without a certificate that is
// merely a TLS alert, so it adds what the machine itself says is wrong.
func (s *server) unreached(ctx context.Context, err error, asked bool) error {
	url := s.fleet.Cluster.Headscale.URL
	sh, shut := s.ssh(ctx)
	if shut != nil && !asked {
		return fmt.Errorf("no Headscale answers at %s: is %s on, and does the name lead there%s? %w", url, s.name, s.at.Otherwise(), err)
	}
	err = fmt.Errorf("%s has Headscale, but not at %s: %w", s.name, url, err)
	if shut != nil {
		return err
	}
	p, silent := s.problem(ctx, sh)
	if silent != nil || p.Summary == "" || p.Code == "control-waits" {
		return err
	}
	return fmt.Errorf("%w; it says itself: %q", err, p.Summary+" "+p.Remedy)
}

// createKey creates the API key on the machine, and keeps it at home before anything is done
// with it.
func (s *server) createKey(ctx context.Context, replace bool) (secret.String, error) {
	if err := s.fleet.CanKeepAPIKey(); err != nil {
		return "", err
	}
	sh, err := s.ssh(ctx)
	if err != nil {
		return "", err
	}
	out, err := sh.Run(ctx, fmt.Sprintf("headscale apikeys create --expiration %dh", int(keyLife.Hours())), nil)
	if err != nil {
		return "", fmt.Errorf("on %s Headscale does not run yet (look there: firstboot status): %w", s.name, err)
	}
	key := vps.LastLine(out)
	if !strings.HasPrefix(key, "hskey-api-") && strings.Count(key, ".") != 1 { // hskey-api- since Headscale 0.28; before, PREFIX.KEY
		return "", fmt.Errorf("the answer of %s is no API key", s.name)
	}
	return secret.String(key), s.fleet.KeepAPIKey(secret.String(key), replace)
}

// furnish creates the user and sets the policy that the fleet needs, unless the server's has
// something else in it.
func (s *server) furnish(ctx context.Context) (*Policy, error) {
	if _, err := s.api.CreateUser(ctx, s.fleet.Cluster.Headscale.User); err != nil {
		return nil, err
	}
	return SetPolicy(ctx, s.fleet, s.api, false)
}

// join gives the machine a key to join its tailnet with, unless it is a member.
func (s *server) join(ctx context.Context) (member bool, err error) {
	nodes, err := s.api.Nodes(ctx)
	if err != nil {
		return false, err
	}
	members, err := replace.Members(s.fleet, nodes, s.name, true) // refuses a foreign node of the same name
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(members, func(n headscale.Node) bool { return n.Online }) {
		return true, nil
	}
	sh, err := s.ssh(ctx)
	if err != nil {
		return false, err
	}
	if len(members) > 0 {
		if waits, err := s.waits(ctx, sh); err != nil || !waits {
			return err == nil, err
		}
		// The members are from a restored database: the machine before this one.
		if err := replace.Forget(ctx, s.api, members); err != nil {
			return false, err
		}
	}
	m, err := mint.Open(s.fleet, s.api)
	if err != nil {
		return false, err
	}
	defer m.Close()
	_, err = m.Hand(ctx, s.name, s.now(), func(key *mint.Key) error {
		if _, err := sh.Run(ctx, contract.TellKey, strings.NewReader(key.Text.Reveal()+"\n")); err != nil {
			return fmt.Errorf("%s does not take its key: %w", s.name, err)
		}
		return nil
	})
	return false, err
}

// waits asks the machine whether it needs a key: a member that is offline may just be
// starting. While the machine has a problem with its Headscale's name or certificate, it has
// not come so far as to know, so that is an error.
func (s *server) waits(ctx context.Context, sh *vps.Shell) (bool, error) {
	p, err := s.problem(ctx, sh)
	if err != nil || slices.Contains(contract.NeedsKey, p.Code) {
		return err == nil, err
	}
	if strings.HasPrefix(p.Code, "control-") || strings.HasPrefix(p.Code, "acme-") {
		return false, fmt.Errorf("%s is not in its tailnet and has no key from here yet; it says itself: %q (then do this again)", s.name, p.Summary+" "+p.Remedy)
	}
	return false, nil
}

// problem asks the machine what keeps it from joining, the zero Trouble if nothing does.
func (s *server) problem(ctx context.Context, sh *vps.Shell) (contract.Trouble, error) {
	out, err := sh.Run(ctx, contract.AskStatus, nil)
	if err != nil {
		return contract.Trouble{}, fmt.Errorf("ask %s for its status: %w", s.name, err)
	}
	status, err := contract.ParseStatus([]byte(out))
	if err != nil {
		return contract.Trouble{}, fmt.Errorf("%s: %w", s.name, err)
	}
	return status.Problem, nil
}

// mostDrift is how far the clocks may differ: certificates are made for the hour in which
// they are asked for.
const mostDrift = 5 * time.Minute

// ssh logs in once, and checks the machine's clock before anything else.
func (s *server) ssh(ctx context.Context) (*vps.Shell, error) {
	if s.shell != nil {
		return s.shell, nil
	}
	sh, err := vps.Dial(ctx, s.fleet, s.at)
	if err != nil {
		return nil, err
	}
	s.shell = sh
	out, err := sh.Run(ctx, "date +%s", nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s for the time: %w", s.name, err)
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("the answer of %s is no time", s.name)
	}
	if drift := time.Unix(seconds, 0).Sub(s.now()).Round(time.Minute); drift.Abs() > mostDrift {
		return nil, fmt.Errorf("the clock of %s is off by %v (or this computer's is): keys and certificates would be born expired; wait until it has found a time server, or name one in its node.yaml (network: ntp:)", s.name, drift)
	}
	return sh, nil
}
