package headscale

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// ErrPolicyInFile means that the server reads its policy from a file (policy.mode: file, which
// is Headscale's default), where the API cannot change it.
var ErrPolicyInFile = errors.New("this Headscale reads its policy from a file of its machine: set policy: {mode: database} in its config.yaml, or put there what 'imagebuilder headscale policy' prints")

// Policy returns the text of the server's policy, "" if none is set: then all devices of the
// tailnet reach each other. ErrPolicyInFile means that its file cannot be read; the text of one
// that can be is returned like any other.
func (c *Client) Policy(ctx context.Context) (string, error) {
	var out struct {
		Policy string `json:"policy"`
	}
	err := c.call(ctx, http.MethodGet, "/api/v1/policy", nil, &out)
	var api *APIError
	if errors.As(err, &api) { // from 0.26 to 0.29 both are a 500 that only its words tell
		switch {
		case strings.Contains(api.Message, "acl policy not found"):
			return "", nil
		case strings.Contains(api.Message, "reading policy from "):
			return "", fmt.Errorf("%w (%s)", ErrPolicyInFile, api.Message)
		}
	}
	if errors.Is(err, ErrNotFound) { // every version has the request
		return "", nil
	}
	return out.Policy, err
}

// inFile tells a refusal to set the policy that is for its being in a file.
func inFile(err error) error {
	var api *APIError
	if errors.As(err, &api) && strings.Contains(api.Message, "update is disabled for modes other than") {
		return ErrPolicyInFile
	}
	return err
}
