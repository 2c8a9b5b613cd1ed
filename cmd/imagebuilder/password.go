package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

const passwordEnv = "IMAGEBUILDER_KEY_PASSWORD"

// password says where a key's password comes from: a file, the environment, or the terminal.
type password struct{ file string }

func (p *password) flag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.file, "password-file", "", "a file whose first line is the key's password (or set "+passwordEnv+")")
}

// ask gets the password of an existing key.
func (p *password) ask(cmd *cobra.Command, key string) (secret.String, error) {
	if p.file != "" {
		data, err := os.ReadFile(p.file)
		line, _, _ := strings.Cut(string(data), "\n")
		return secret.String(strings.TrimSuffix(line, "\r")), err
	}
	if s, ok := os.LookupEnv(passwordEnv); ok {
		return secret.String(s), nil
	}
	return prompt(cmd, "Password of "+key+": ")
}

// choose gets a new password; if it is typed, it has to be typed twice.
func (p *password) choose(cmd *cobra.Command) (secret.String, error) {
	word, err := p.ask(cmd, "the new key")
	if err != nil {
		return "", err
	}
	if word.Empty() {
		return "", usagef("the password is empty; --no-password if that is meant")
	}
	if _, set := os.LookupEnv(passwordEnv); set || p.file != "" {
		return word, nil
	}
	again, err := prompt(cmd, "The same again: ")
	if err == nil && again != word {
		err = fmt.Errorf("the two passwords differ")
	}
	return word, err
}

// prompt reads a line from the terminal without echo. If the program is interrupted, it
// returns, and restores the echo.
func prompt(cmd *cobra.Command, question string) (secret.String, error) {
	fd := int(os.Stdin.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", usagef("no terminal to ask for the password: --password-file or %s", passwordEnv)
	}
	fmt.Fprint(cmd.ErrOrStderr(), question)
	defer fmt.Fprintln(cmd.ErrOrStderr())
	var line []byte
	read := make(chan error, 1)
	go func() {
		var err error
		line, err = term.ReadPassword(fd)
		read <- err
	}()
	select {
	case err := <-read:
		return secret.String(line), err
	case <-cmd.Context().Done():
		return "", errors.Join(cmd.Context().Err(), term.Restore(fd, before))
	}
}
