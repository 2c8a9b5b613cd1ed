package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
)

// TestStatusWarnsOfTheAPIKey once, in the key's last month, and says how to make the next
// one.
func TestStatusWarnsOfTheAPIKey(t *testing.T) {
	for days, want := range map[int]string{20: "'imagebuilder headscale init' makes the next one\n", 40: ""} {
		end := time.Now().AddDate(0, 0, days)
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"apiKeys":[{"prefix":"abcdefg","expiration":%q}]}`, end.Format(time.RFC3339))
		}))
		defer web.Close()
		client, err := headscale.New(web.URL, "abcdefg.0123", "")
		if err != nil {
			t.Fatal(err)
		}
		f, err := fleet.Load(fleet.FileName, fleet.Example, nil)
		if err != nil {
			t.Fatal(err)
		}
		var told bytes.Buffer
		cmd := &cobra.Command{}
		cmd.SetContext(t.Context())
		cmd.SetErr(&told)
		var s statusFlags
		for range 2 {
			s.warnOfKey(cmd, f, client)
		}
		if want != "" {
			want = "the API key of Headscale ends on " + end.Format(time.DateOnly) + ": " + want
		}
		if told.String() != want || strings.Contains(told.String(), "abcdefg") {
			t.Errorf("%d days: %q, want %q", days, told.String(), want)
		}
	}
}

// TestStatusShowsFormerMembers below the nodes of the file.
func TestStatusShowsFormerMembers(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"nodes":[{"id":"4","name":"hut-pi","givenName":"hut-pi","online":true,"preAuthKey":{"id":"7"}}]}`)
	}))
	defer web.Close()
	client, err := headscale.New(web.URL, "abcdefg.0123", "")
	if err != nil {
		t.Fatal(err)
	}
	f, err := fleet.Load(filepath.Join(t.TempDir(), fleet.FileName), fleet.Example, nil)
	if err != nil {
		t.Fatal(err)
	}
	secrets := filepath.Join(f.Dir(), fleet.SecretsDir)
	if err := errors.Join(os.Mkdir(secrets, 0o700), os.WriteFile(filepath.Join(secrets, "keys.json"), []byte(`{"version":1,"nodes":{"hut-pi":[{"id":"7"}]}}`), 0o600)); err != nil {
		t.Fatal(err)
	}
	cmd := &cobra.Command{}
	cmd.SetContext(t.Context())
	s := statusFlags{noAsk: true, warned: true}
	text, err := s.text(cmd, f, client)
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if last := lines[len(lines)-1]; err != nil || !strings.HasPrefix(last, "hut-pi ") || !strings.Contains(last, "imagebuilder revoke hut-pi") {
		t.Errorf("%v\n%s", err, text)
	}
}
