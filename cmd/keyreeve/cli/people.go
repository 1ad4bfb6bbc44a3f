package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/keyreeve/keyreeve/server"
)

// namedUser is a command that changes one user.
type namedUser struct {
	withReason
	Name string `arg:"" help:"Name of the user."`
}

// save sends a change of the user. mode is "new" or "existing".
func (u *namedUser) save(change server.UserChange, mode, done string) error {
	_, err := u.saveAndShow(change, mode, done)
	return err
}

// saveAndShow is save that returns the answer.
func (u *namedUser) saveAndShow(change server.UserChange, mode, done string) (out server.User, err error) {
	body, err := json.Marshal(change)
	if err != nil {
		return out, err
	}
	defer clear(body)
	if err := u.askServerWith("PUT", "/users/one", u.query("name", u.Name, "reason", u.Reason, mode, "yes"), body, &out); err != nil {
		return out, err
	}
	warnOfEach(out.Warnings)
	fmt.Println("user", out.Name, done)
	return out, nil
}

// hashedFlag lets a user log in with Hashed Password credentials.
type hashedFlag struct {
	Hashed *bool `help:"Accept Hashed Password credentials of KMIP 2.x too. What the server then keeps of the password is guessed faster; see docs/authentication.md." negatable:""`
}

// userFields are the fields of a user that flags set.
type userFields struct {
	Group     []string          `help:"A group of the user; repeat it for more."`
	Role      []string          `help:"A role of the user; repeat it for more."`
	Attribute map[string]string `help:"NAME=VALUE, for conditions of policies; repeat it for more." mapsep:"none"`
	Expires   string            `help:"Time after which the user is refused, such as 2026-12-31T00:00:00Z; \"never\"."`
}

// change returns the fields that were given.
func (f *userFields) change() (c server.UserChange, err error) {
	if f.Group != nil {
		c.Groups = &f.Group
	}
	if f.Role != nil {
		c.Roles = &f.Role
	}
	if f.Attribute != nil {
		c.Attributes = &f.Attribute
	}
	switch f.Expires {
	case "":
	case "never":
		c.Expires = new(int64)
	default:
		t, err := time.Parse(time.RFC3339, f.Expires)
		if err != nil {
			return c, fmt.Errorf("--expires must be a time such as 2026-12-31T00:00:00Z, or never")
		}
		unix := t.Unix()
		c.Expires = &unix
	}
	return c, nil
}

// userWithFields is a command that saves the fields of one user.
type userWithFields struct {
	namedUser
	userFields
}

// saveFields sends the fields that were given, with the password that password returns.
// It asks for the password only if the fields are valid.
func (u *userWithFields) saveFields(password func() ([]byte, error), hashed *bool, mode, done string) error {
	change, err := u.change()
	if err != nil {
		return err
	}
	change.Hashed = hashed
	if change.Password, err = password(); err != nil {
		return err
	}
	defer clear(change.Password)
	if mode == newUser && len(change.Password) == 0 {
		done += ", without a password: it cannot log in until user password sets one"
	}
	return u.save(change, mode, done)
}

// newUser is the mode of a command that makes a user.
const newUser = "new"

// samePassword leaves the password of a user as it is.
func samePassword() ([]byte, error) { return nil, nil }

type userAddCmd struct {
	userWithFields
	hashedFlag
}

// Run makes the user.
func (c *userAddCmd) Run() error { return c.saveFields(readPassword, c.Hashed, newUser, "is made") }

type userChangeCmd struct{ userWithFields }

// Run changes the fields that are given.
func (c *userChangeCmd) Run() error { return c.saveFields(samePassword, nil, "existing", "is changed") }

type userPasswordCmd struct {
	namedUser
	hashedFlag
}

// Run sets a new password.
func (c *userPasswordCmd) Run() error {
	password, err := readPassword()
	if err != nil {
		return err
	}
	defer clear(password)
	if len(password) == 0 {
		return errors.New("no password was given, so the old one stays; a password has 12 to 1024 bytes")
	}
	return c.save(server.UserChange{Password: password, Hashed: c.Hashed}, "existing", "has a new password")
}

type userOTPCmd struct {
	namedUser
	Remove bool `help:"Remove the key: the password alone is enough then."`
}

// Run makes or removes the key of the user's one-time codes.
func (c *userOTPCmd) Run() error {
	wanted, done := !c.Remove, "needs a one-time code with the password; the key, which is shown once:"
	if c.Remove {
		done = "needs no one-time codes"
	}
	out, err := c.saveAndShow(server.UserChange{Codes: &wanted}, "existing", done)
	if err == nil && wanted {
		fmt.Println(out.CodeKeyURI)
	}
	return err
}

type userDisableCmd struct{ namedUser }

// Run disables the user.
func (c *userDisableCmd) Run() error {
	yes := true
	return c.save(server.UserChange{Disabled: &yes}, "existing", "is disabled")
}

type userEnableCmd struct{ namedUser }

// Run enables the user.
func (c *userEnableCmd) Run() error {
	no := false
	return c.save(server.UserChange{Disabled: &no}, "existing", "is enabled")
}

type userRemoveCmd struct{ removal }

// Run removes the user.
func (c *userRemoveCmd) Run() error { return c.remove("/users/one", "user") }

// maxPassword bounds what is read as a password, in bytes.
const maxPassword = 1024

// readPassword asks a person at a terminal twice for a password, or reads a line of
// standard input.
func readPassword() ([]byte, error) {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		line, err := bufio.NewReader(io.LimitReader(os.Stdin, maxPassword+2)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		return []byte(strings.TrimRight(line, "\r\n")), nil
	}
	fmt.Fprint(os.Stderr, "New password: ")
	first, err := term.ReadPassword(int(os.Stdin.Fd()))
	fmt.Fprintln(os.Stderr)
	if err != nil {
		return nil, err
	}
	fmt.Fprint(os.Stderr, "Again: ")
	second, err := term.ReadPassword(int(os.Stdin.Fd()))
	fmt.Fprintln(os.Stderr)
	defer clear(second)
	if err == nil && string(first) != string(second) {
		clear(first)
		err = errors.New("the two passwords differ; nothing was changed")
	}
	return first, err
}

type userListCmd struct{ tenantListing }

// Run lists the users.
func (c *userListCmd) Run() error {
	return printPages(&c.tenantListing, "/users", func(u server.User) string { return u.Name }, userLine)
}

// userLine shows one to people.
func userLine(u server.User) string {
	state := "active"
	switch {
	case u.Disabled:
		state = "disabled"
	case u.Expires != 0 && time.Now().Unix() > u.Expires:
		state = "expired"
	}
	return oneLine(fmt.Sprintf("%s | %s | groups %s | roles %s | %s", u.Name, state, strings.Join(u.Groups, ","), strings.Join(u.Roles, ","), strings.Join(u.Proofs, ",")))
}

type roleSaveCmd struct {
	withReason
	Name        string   `arg:"" help:"Name of the role."`
	Actions     []string `arg:"" help:"What it permits: encrypt, decrypt, rotate, ... or names of operations such as \"Get Attributes\"."`
	Description string   `help:"What it is for."`
}

// Run stores the role.
func (c *roleSaveCmd) Run() error {
	body, err := json.Marshal(map[string]any{"actions": c.Actions, "description": c.Description})
	if err != nil {
		return err
	}
	var out server.Role
	if err := c.askServerWith("PUT", "/roles/one", c.query("name", c.Name, "reason", c.Reason), body, &out); err != nil {
		return err
	}
	fmt.Printf("role %s@%d is in force\n", out.Name, out.Version)
	return nil
}

type roleListCmd struct{ tenantListing }

// Run lists the roles.
func (c *roleListCmd) Run() error {
	return printPages(&c.tenantListing, "/roles", func(r server.Role) string { return r.Name }, roleLine)
}

// roleLine shows one to people.
func roleLine(r server.Role) string {
	return oneLine(strings.TrimSuffix(fmt.Sprintf("%s@%d | %s | %s", r.Name, r.Version, strings.Join(r.Actions, ", "), r.Description), " | "))
}

type roleRemoveCmd struct{ removal }

// Run removes the role.
func (c *roleRemoveCmd) Run() error { return c.remove("/roles/one", "role") }
