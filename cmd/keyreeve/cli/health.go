package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/server/httpd"
)

type healthCmd struct{ where }

func (c *healthCmd) Run() error {
	var out httpd.Health
	if err := c.askServer("GET", "/health", nil, &out); err != nil {
		return err
	}
	names := make([]string, 0, len(out.Parts))
	for n := range out.Parts {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		p := out.Parts[n]
		fmt.Println(strings.TrimRight(fmt.Sprintf("%-7s %s %s", n, condition(p), strings.Join(append(p.Notes, p.Problem), " ")), " "))
	}
	if !out.Ready {
		return fmt.Errorf("the server is not ready")
	}
	return nil
}

// condition is a part's state in a word.
func condition(p httpd.Part) string {
	switch {
	case !p.Ready:
		return "PROBLEM"
	case p.Degraded:
		return "degraded"
	}
	return "ok"
}
