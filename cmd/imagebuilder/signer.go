package main

import (
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"github.com/going-mobile/imagebuilder/image/authenticode"
)

// signerFlags name the key of one's own for Secure Boot.
type signerFlags struct{ key, cert string }

func (s *signerFlags) add(flags *pflag.FlagSet, what string) {
	flags.StringVar(&s.key, "sign", "", what)
	flags.StringVar(&s.cert, "cert", "", "with --sign: its certificate (PEM)")
}

// read returns nil where no key was named.
func (s *signerFlags) read() (*authenticode.Signer, error) {
	if s.key == "" && s.cert == "" {
		return nil, nil
	}
	if s.key == "" || s.cert == "" {
		return nil, usagef("--sign and --cert go together: a key and its certificate")
	}
	key, err := os.ReadFile(s.key)
	if err != nil {
		return nil, fmt.Errorf("--sign: %w", err)
	}
	cert, err := os.ReadFile(s.cert)
	if err != nil {
		return nil, fmt.Errorf("--cert: %w", err)
	}
	signer, err := authenticode.New(key, cert)
	if err != nil {
		return nil, fmt.Errorf("--sign %s, --cert %s: %w", s.key, s.cert, err)
	}
	return signer, nil
}
