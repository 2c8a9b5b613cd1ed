package main

import (
	"errors"
	"fmt"
	"io"

	"aead.dev/minisign"
	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/verify"
)

// verified is what verify prints as JSON.
type verified struct {
	*verify.Report
	// Signature is null for an image that is not signed.
	Signature *verify.Signature `json:"signature"`
}

func newVerify() *cobra.Command {
	var key string
	var asJSON, quiet bool
	cmd := &cobra.Command{
		Use:   "verify IMAGE",
		Short: "Check an image, raw or compressed, against the files beside it",
		Long: `Check that an image is complete, and that it is what the files beside it say. The
image may be raw, compressed, or in QEMU's qcow2. The files are IMAGE.manifest.json,
IMAGE.bmap, IMAGE.provenance.json, IMAGE.sha256 and SHA256SUMS.

The signature (minisign) is checked, too: IMAGE.minisig, or SHA256SUMS.minisig where
SHA256SUMS lists the image or its manifest.

What was checked is printed. The exit code is 1 if

  - something differs
  - nothing lies beside the image that says what it must be
  - a signature is wrong, or made with a key that is not trusted
  - with --key, there is no signature`,
		Example: `  imagebuilder verify dist/rpi4.img
  imagebuilder verify rpi4.img.zst --key RWQ…`,
		Args: exactArgs("IMAGE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			keys, err := trustedKeys(key)
			if err != nil {
				return err
			}
			u := newUI(cmd, quiet)
			report, err := verify.Image(cmd.Context(), args[0], false, u)
			u.close()
			if err != nil {
				return err
			}
			signature, err := report.Signature(keys)
			switch {
			case errors.Is(err, verify.ErrUnsigned) && key == "":
			case err != nil:
				return err
			}
			if signature == nil && len(report.Checks) == 0 {
				return fmt.Errorf("%s is whole, but nothing lies beside it that says which bytes it must have; get its manifest or checksum, too", args[0])
			}
			return printVerified(cmd.OutOrStdout(), verified{report, signature}, asJSON)
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "require a signature by this minisign public key, RW… or a file (default: trust the release keys, require none)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "no progress")
	return cmd
}

func trustedKeys(key string) ([]minisign.PublicKey, error) {
	if key == "" {
		return verify.ReleaseKeys()
	}
	k, err := verify.Key(key)
	if err != nil {
		return nil, usagef("--key: %w", err)
	}
	return []minisign.PublicKey{k}, nil
}

func printVerified(out io.Writer, v verified, asJSON bool) error {
	if asJSON {
		return printJSON(out, v)
	}
	w := newTable(out)
	printChecked(w, v.Report)
	if v.Signature == nil {
		fmt.Fprintln(w, "signature\tNONE: who made it is not known")
	} else {
		fmt.Fprintf(w, "signature\t%s: good, by key %s, %q\n", v.Signature.File, v.Signature.Key, v.Signature.Comment)
	}
	return w.Flush()
}

// printChecked prints what an image is, and what it was compared with.
func printChecked(w io.Writer, r *verify.Report) {
	what := "not made by imagebuilder"
	if r.Label != nil {
		what = fmt.Sprintf("board %s, version %s", r.Label.Board, r.Label.ImageVersion)
	}
	fmt.Fprintf(w, "image\t%s: %s\n", r.File, what)
	fmt.Fprintf(w, "sha256\t%s\n", r.SHA256)
	for _, c := range r.Checks {
		fmt.Fprintf(w, "checked\tagainst %s: %s\n", c.Against, c.What)
	}
	if len(r.Checks) == 0 {
		fmt.Fprintln(w, "checked\tNOTHING: no file beside the image says which bytes it must have")
	}
	if r.Personalised {
		fmt.Fprintln(w, "holds\ta filled-in node.yaml, and so secrets; everything else was checked as if node.yaml were not filled in")
	}
}
