package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/roster"
)

// watchPause is between looks of "status --watch".
const watchPause = 5 * time.Second

func newStatus() *cobra.Command {
	var file string
	var asJSON, watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show which nodes of the fleet have arrived",
		Long: `Show of every node whether a key was made for it, whether it has joined the
tailnet with it, and whether it is there. With --watch the table is printed again
whenever something has changed, until Ctrl-C.`,
		Example: `  imagebuilder status
  imagebuilder status --watch
  imagebuilder status --json | jq -r '.[] | select(.state != "online").node'`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := loadFleet(file)
			if err != nil {
				return err
			}
			client, err := connect(f)
			if err != nil {
				return err
			}
			if watch {
				return watchStatus(cmd, f, client, asJSON)
			}
			text, err := statusText(cmd, f, client, asJSON)
			if err != nil {
				return err
			}
			_, err = io.WriteString(cmd.OutOrStdout(), text)
			return err
		},
	}
	fleetFlag(cmd, &file)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "keep looking")
	return cmd
}

func watchStatus(cmd *cobra.Command, f *fleet.Fleet, client *headscale.Client, asJSON bool) error {
	tick := time.NewTicker(watchPause)
	defer tick.Stop()
	for last := ""; ; {
		text, err := statusText(cmd, f, client, asJSON)
		if err != nil {
			return err
		}
		if text != last {
			last = text
			if _, err := io.WriteString(cmd.OutOrStdout(), text); err != nil {
				return err
			}
		}
		select {
		case <-cmd.Context().Done():
			return cmd.Context().Err()
		case <-tick.C:
		}
	}
}

func statusText(cmd *cobra.Command, f *fleet.Fleet, client *headscale.Client, asJSON bool) (string, error) {
	rows, err := roster.Read(cmd.Context(), f, client, time.Now())
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if asJSON {
		enc := json.NewEncoder(&b)
		enc.SetIndent("", "  ")
		err := enc.Encode(rows)
		return b.String(), err
	}
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tSITE\tROLE\tSTATE\tADDRESS\tWHEN\tNOTE")
	for _, r := range rows {
		address := ""
		if r.Address.IsValid() {
			address = r.Address.String()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Node, r.Site, r.Role, r.State, address, statusTime(r), strings.Join(r.Notes, "; "))
	}
	err = w.Flush()
	return b.String(), err
}

// statusTime is the moment that matters in a node's state.
func statusTime(r roster.Row) string {
	const layout = "2006-01-02 15:04"
	switch r.State {
	case roster.Waiting:
		return "until " + r.Expires.Local().Format(layout)
	case roster.Expired:
		return r.Expires.Local().Format(layout)
	case roster.Offline:
		if !r.LastSeen.IsZero() {
			return r.LastSeen.Local().Format(layout)
		}
	}
	return ""
}
