package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
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
