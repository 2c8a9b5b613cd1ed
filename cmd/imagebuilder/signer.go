package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/going-mobile/imagebuilder/image/authenticode"
	"github.com/going-mobile/imagebuilder/image/token"
)

// signerFlags name the user's own key for Secure Boot.
type signerFlags struct{ key, cert string }

func (s *signerFlags) add(flags *pflag.FlagSet, what string) {
	flags.StringVar(&s.key, "sign", "", what)
	flags.StringVar(&s.cert, "cert", "", "with --sign: its certificate (PEM)")
}

// read returns nil if no key was named.
func (s *signerFlags) read() (*authenticode.Signer, error) {
	if s.key == "" && s.cert == "" {
		return nil, nil
	}
	if s.key == "" || s.cert == "" {
		return nil, usagef("--sign and --cert go together: a key and its certificate")
	}
	cert, err := os.ReadFile(s.cert)
	if err != nil {
		return nil, fileOf("--cert", err)
	}
	signer, err := s.of(cert)
	if err != nil {
		name, _, _ := strings.Cut(s.key, "?") // the query may contain a PIN, which does not belong there
		return nil, fmt.Errorf("--sign %s, --cert %s: %w", name, s.cert, err)
	}
	return signer, nil
}

// of opens the certificate's key, in a file or on a token.
func (s *signerFlags) of(cert []byte) (*authenticode.Signer, error) {
	if !strings.HasPrefix(s.key, token.Scheme) {
		key, err := os.ReadFile(s.key)
		if err != nil {
			return nil, err
		}
		return authenticode.New(key, cert)
	}
	c, public, err := authenticode.ReadCertificate(cert)
	if err != nil {
		return nil, err
	}
	key, err := token.Open(s.key, public)
	if err != nil {
		return nil, err
	}
	return authenticode.NewOf(key, c), nil
}
