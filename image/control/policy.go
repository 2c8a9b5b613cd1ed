package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/image/atomicfile"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
)

// Policy says what became of a server's policy.
type Policy struct {
	// InPlace says that the server has the fleet's policy now, and nothing else. Otherwise its
	// own was left as it is.
	InPlace bool
	// Lost is what the fleet's policy took away, or would take away, in lines.
	Lost []string
	// Lacks is what a policy that was left has not of the fleet's, in lines.
	Lacks []string
	// Kept is the file with the policy in which Lost is, "" if none was set.
	Kept string
	// WithoutAttrs says that this Headscale does not support node attributes.
	WithoutAttrs bool
}

// SetPolicy makes the fleet's policy the server's if nothing is lost by that, or if replace is
// true. A policy of which something would be lost is kept at home first.
func SetPolicy(ctx context.Context, f *fleet.Fleet, client *headscale.Client, replace bool) (*Policy, error) {
	present, err := client.Policy(ctx)
	if err != nil {
		return nil, err
	}
	diff, err := f.ComparePolicy(present)
	if err != nil {
		return nil, err
	}
	p := &Policy{InPlace: diff.Same, Lost: diff.Lost, Lacks: diff.Lacks}
	if diff.Same {
		return p, nil
	}
	if strings.Trim(present, "{} \t\r\n") == "" {
		p.Lost, err = cutOff(ctx, f, client)
	} else if len(p.Lost) > 0 {
		p.Kept, err = keepPolicy(f, present)
	}
	if err != nil {
		return nil, err
	}
	text, err := f.Policy()
	if err != nil {
		return nil, err
	}
	if len(p.Lost) > 0 && !replace {
		p.Lacks = possible(ctx, client, string(text), p.Lacks)
		return p, nil
	}
	p.WithoutAttrs, err = client.SetPolicy(ctx, string(text))
	p.InPlace, p.Lacks = true, nil
	return p, err
}

// possible are the lines of a policy that the server would take: node attributes only one that
// can check a policy does, 0.29 and newer.
func possible(ctx context.Context, client *headscale.Client, policy string, lines []string) []string {
	if err := client.PolicyCheck(ctx, policy); !errors.Is(err, headscale.ErrNotFound) {
		return lines
	}
	return slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "nodeAttrs: ") })
}

// cutOff tells whom the first policy of a server would cut off: without one, all devices reach
// each other. On a server of the fleet's own there is no other user.
func cutOff(ctx context.Context, f *fleet.Fleet, client *headscale.Client) ([]string, error) {
	users, err := client.Users(ctx)
	var out []string
	for _, u := range users {
		if u.Name != f.Cluster.Headscale.User {
			out = append(out, fmt.Sprintf("all traffic of the devices of user %s: no policy is set, so everybody reaches everybody", cmp.Or(u.Name, string(u.ID))))
		}
	}
	return out, err
}

// keepPolicy returns when the policy is in secrets/policy.before, whose name it returns.
func keepPolicy(f *fleet.Fleet, text string) (string, error) {
	dir := filepath.Join(f.Dir(), fleet.SecretsDir)
	if err := atomicfile.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	name := filepath.Join(dir, "policy.before")
	return name, atomicfile.WriteFile(name, []byte(text), 0o600)
}
