package cli

import (
	"bufio"
	"cmp"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keyreeve/keyreeve/engine/upkeep"
	"github.com/keyreeve/keyreeve/server"
)

type hsmCmd struct {
	Orphans orphansCmd `cmd:"" help:"Token objects that no living object needs."`
	Keys    keysCmd    `cmd:"" help:"List the sets of keys in the HSM: whose each is, and whether it is in use. Changes nothing."`
}

type keysCmd struct {
	where
	JSON bool `help:"One JSON object a line."`
}

func (c *keysCmd) Run() error {
	var all []upkeep.KeySetStatus
	if err := c.askServer("GET", "/hsm/keys", nil, &all); err != nil {
		return err
	}
	return printLines(all, c.JSON, keySetLine)
}

// keySetLine shows one to people.
func keySetLine(s upkeep.KeySetStatus) string {
	state := s.State
	if s.Tenant != "" {
		state += fmt.Sprintf(", tenant %s, epoch %d", s.Tenant, s.Epoch)
	}
	return oneLine(strings.TrimSuffix(fmt.Sprintf("%s | %s | %d keys | %s", s.Label, state, s.Keys, s.Note), " | "))
}

type orphansCmd struct {
	List  orphansListCmd  `cmd:"" help:"List token objects that no row of a living object names, and open intents of earlier processes."`
	Purge orphansPurgeCmd `cmd:"" help:"Destroy token objects for good."`
}

type orphansListCmd struct {
	where
	JSON bool `help:"One JSON object a line."`
}

func (w *where) orphans() (out []upkeep.Orphan, err error) {
	err = w.askServer("GET", "/hsm/orphans", nil, &out)
	return out, err
}

func (c *orphansListCmd) Run() error {
	all, err := c.orphans()
	if err != nil {
		return err
	}
	if len(all) == 0 {
		fmt.Fprintln(os.Stderr, "no orphans")
	}
	return printLines(all, c.JSON, orphanLine)
}

// orphanLine shows one to people.
func orphanLine(o upkeep.Orphan) string {
	age := "of unknown age"
	if o.Began != 0 {
		age = "since " + time.Unix(o.Began, 0).UTC().Format(time.RFC3339)
	}
	can := "purgeable"
	if !o.Purgeable {
		can = "not purgeable"
	}
	return oneLine(fmt.Sprintf("%s %s/%s | %s | %s, %s | %s | %s", o.TokenObject, o.Tenant, o.ID, o.Label, cmp.Or(o.Kind, "no intent"), age, o.Why, can))
}

type orphansPurgeCmd struct {
	where
	IDs []string `arg:"" optional:"" name:"id" help:"CKA_IDs in hexadecimal, as list shows them."`
	All bool     `help:"All that list calls purgeable."`
	Yes bool     `help:"Do not ask for a confirmation."`
}

func (c *orphansPurgeCmd) Run() error {
	if c.All == (len(c.IDs) > 0) {
		return fmt.Errorf("name the token objects by their CKA_IDs, or give --all")
	}
	all, err := c.orphans()
	if err != nil {
		return err
	}
	q := url.Values{}
	for _, o := range all {
		if slices.Contains(c.IDs, o.TokenObject) || (c.All && o.Purgeable) {
			fmt.Println(orphanLine(o))
			q.Add("id", o.TokenObject)
		} else if c.All {
			fmt.Println("left alone:", orphanLine(o))
		}
	}
	for _, id := range c.IDs {
		if !slices.Contains(q["id"], id) {
			return fmt.Errorf("%q is the CKA_ID of no orphan in the HSM, so nothing was destroyed; see keyreeve hsm orphans list", id)
		}
	}
	if len(q["id"]) == 0 {
		fmt.Fprintln(os.Stderr, "no orphan is purgeable; nothing was destroyed")
		return nil
	}
	if !c.Yes {
		if err := confirm(len(q["id"])); err != nil {
			return err
		}
	}
	var out server.Purged
	if err := c.askServer("POST", "/hsm/orphans/purge", q, &out); err != nil {
		return err
	}
	fmt.Printf("%d token objects destroyed\n", len(out.Purged))
	if out.Problem != "" {
		return fmt.Errorf("%d token objects were not destroyed: %s", len(q["id"])-len(out.Purged), out.Problem)
	}
	return nil
}

// confirm asks for words that nobody types by accident. It asks a person at a
// terminal only: what a pipe holds was written before the question.
func confirm(n int) error {
	if _, err := unix.IoctlGetTermios(int(os.Stdin.Fd()), unix.TCGETS); err != nil {
		return fmt.Errorf("nothing was destroyed: standard input is not a terminal, so nobody can be asked; give --yes")
	}
	want := fmt.Sprintf("destroy %d", n)
	fmt.Printf("These keys cannot be brought back. Type %q to go on: ", want)
	line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	if strings.TrimSpace(line) != want {
		return fmt.Errorf("nothing was destroyed")
	}
	return nil
}
