package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/keyreeve/keyreeve/authz/keypolicy/format"
	"github.com/keyreeve/keyreeve/cmd/keyreeve/policyfiles"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/server"
)

// differs is the status of a comparison that finds differences, and of a test that fails.
const differs = 1

// warnOf prints a warning to standard error.
func warnOf(text string) { fmt.Fprintln(os.Stderr, "warning:", oneLine(text)) }

// warnOfEach prints the warnings of an answer.
func warnOfEach(warnings []string) {
	for _, w := range warnings {
		warnOf(w)
	}
}

type policyTestCmd struct {
	Files  []string `arg:"" name:"file" type:"existingfile" help:"Documents of key policies."`
	Config string   `help:"Configuration file of a server, for policy.regions and policy.maxmind." type:"path"`
}

// Run checks each file and prints all faults, without a server.
func (c *policyTestCmd) Run() error {
	checker, err := c.checker()
	if err != nil {
		return err
	}
	faults := 0
	for _, path := range c.Files {
		warnings, err := checker.CheckFile(path)
		for _, w := range warnings {
			warnOf(path + ": " + w)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "keyreeve:", oneLine(err.Error()))
			faults++
			continue
		}
		fmt.Println(oneLine(path), "is correct, and its tests pass")
	}
	if faults > 0 {
		return exitStatus(differs)
	}
	return nil
}

func (c *policyTestCmd) checker() (*policyfiles.Checker, error) {
	var cfg server.Config
	if c.Config != "" {
		var err error
		if cfg, err = server.LoadConfig(c.Config); err != nil {
			return nil, err
		}
	}
	return policyfiles.NewChecker(cfg.RegionSources())
}

// checker checks documents as the server of the command does.
func (w *where) checker() (*policyfiles.Checker, error) {
	cfg, err := w.loadSettings()
	if err != nil {
		return nil, err
	}
	return policyfiles.NewChecker(cfg.RegionSources())
}

type policyDiffCmd struct {
	ofTenant
	Name string `arg:"" help:"Name of the policy."`
	File string `arg:"" type:"existingfile" help:"The document that would replace the newest version."`
}

// Run prints what the file would change.
func (c *policyDiffCmd) Run() error {
	text, err := policyfiles.ReadDocument(c.File)
	if err != nil {
		return err
	}
	next, err := format.Parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	old, _, err := c.readPolicy(c.Name)
	if err != nil {
		return err
	}
	lines, err := policyfiles.Differences(old, next)
	if err != nil || len(lines) == 0 {
		return err
	}
	for _, line := range lines {
		fmt.Println(oneLine(line))
	}
	return exitStatus(differs)
}

// readPolicy returns the newest document of a policy, and its version.
func (o *ofTenant) readPolicy(name string) (*format.Document, int64, error) {
	var out server.PolicyVersion
	if err := o.askServer("GET", "/policies/one", o.query("name", name), &out); err != nil {
		return nil, 0, err
	}
	warnUnlessInForce(&out)
	d, err := format.Parse(out.Document)
	if err != nil {
		return nil, 0, fmt.Errorf("policy %s@%d: %w", name, out.Version, err)
	}
	return d, out.Version, nil
}

type policyExportCmd struct {
	ofTenant
	Folder string `arg:"" type:"path" help:"Folder that is made or written over: policies, attachments, roles and users."`
}

// Run writes what the tenant has. It names the files of what is gone.
func (c *policyExportCmd) Run() error {
	t, err := c.readTenant()
	if err != nil {
		return err
	}
	if err := policyfiles.Write(c.Folder, t); err != nil {
		return err
	}
	stale, err := policyfiles.Stale(c.Folder, t)
	if err != nil {
		return err
	}
	for _, file := range stale {
		warnOf("the tenant has nothing for " + file + "; remove the file, or an import makes it again")
	}
	fmt.Printf("%d policies, %d roles and %d users are in %s\n", len(t.Policies), len(t.Roles), len(t.Users), c.Folder)
	return nil
}

// readTenant reads all policies, roles and users of the tenant.
func (o *ofTenant) readTenant() (*policyfiles.Tenant, error) {
	t := policyfiles.NewTenant()
	err := eachOf(o, "/roles", func(r server.Role) string { return r.Name }, func(r server.Role) error {
		t.Roles[r.Name] = core.Role{Description: r.Description, Actions: r.Actions}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = eachOf(o, "/users", func(u server.User) string { return u.Name }, func(u server.User) error {
		t.Users[u.Name] = core.User{Groups: u.Groups, Roles: u.Roles, Attributes: u.Attributes, Disabled: u.Disabled, Expires: u.Expires}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return t, eachOf(o, "/policies", func(p server.PolicyVersion) string { return p.Name }, func(p server.PolicyVersion) error {
		t.Policies[p.Name], err = o.policyWithTargets(p.Name)
		return err
	})
}

// eachOf asks for all pages of a list and calls do for each of it.
func eachOf[T any](o *ofTenant, path string, name func(T) string, do func(T) error) error {
	return eachPage(o, path, name, func(page []T) error {
		for _, one := range page {
			if err := do(one); err != nil {
				return err
			}
		}
		return nil
	})
}

func (o *ofTenant) policyWithTargets(name string) (p policyfiles.Policy, err error) {
	if p.Document, p.Version, err = o.readPolicy(name); err != nil {
		return p, err
	}
	var out server.PolicyTargets
	if err := o.askServer("GET", "/policies/targets", o.query("name", name), &out); err != nil {
		return p, err
	}
	if out.More {
		warnOf(fmt.Sprintf("policy %s is attached to more objects than are listed; the newest %d are", name, len(out.Objects)))
	}
	slices.Sort(out.Holders)
	slices.Sort(out.Objects)
	p.Attached = &policyfiles.Targets{Holders: out.Holders, Objects: out.Objects}
	return p, nil
}

// fileImport is a command that gives a tenant what files say.
type fileImport struct {
	withReason
	DryRun bool `help:"Say what would be done, and do nothing."`
}

// applyFiles makes the steps, and prints each before it is made. It ends with the first that
// fails.
func (i *fileImport) applyFiles(files *policyfiles.Tenant) error {
	now, err := i.readTenant()
	if err != nil {
		return err
	}
	steps, err := policyfiles.Steps(files, now)
	if err != nil {
		return err
	}
	for _, s := range steps {
		fmt.Println(oneLine(s.Title))
		for _, line := range s.Differences {
			fmt.Println(" ", oneLine(line))
		}
		if i.DryRun {
			continue
		}
		if err := i.makeStep(s); err != nil {
			return fmt.Errorf("%s: %w; the steps before it are done", s.Title, err)
		}
	}
	fmt.Println(i.summary(len(steps)))
	return nil
}

func (i *fileImport) summary(steps int) string {
	switch {
	case steps == 0:
		return "nothing differs"
	case i.DryRun:
		return fmt.Sprintf("%d steps would be made", steps)
	}
	return fmt.Sprintf("%d steps are made", steps)
}

// makeStep makes one step and prints the warnings of a stored policy.
func (i *fileImport) makeStep(s policyfiles.Step) error {
	q := i.query("reason", i.Reason)
	for name, value := range s.Parameters {
		q.Set(name, value)
	}
	var out server.SavedPolicy
	if err := i.askServerWith(s.Method, s.Path, q, s.Body, &out); err != nil {
		return err
	}
	warnOfEach(out.Warnings)
	return nil
}

type policyImportCmd struct {
	fileImport
	Folder string `arg:"" type:"existingdir" help:"Folder that policy export has written."`
}

// Run reads and checks the whole folder first. What has no file stays.
func (c *policyImportCmd) Run() error {
	checker, err := c.checker()
	if err != nil {
		return err
	}
	files, faults := policyfiles.Read(c.Folder, c.Tenant, checker)
	for _, fault := range faults {
		fmt.Fprintln(os.Stderr, "keyreeve:", oneLine(fault.Error()))
	}
	if faults != nil {
		fmt.Fprintln(os.Stderr, "keyreeve: nothing is stored")
		return exitStatus(differs)
	}
	return c.applyFiles(files)
}

type policyImportPyKMIPCmd struct {
	fileImport
	File string `arg:"" type:"existingfile" help:"An operation policy file of PyKMIP."`
	Into string `type:"path" help:"Write the policies into this folder, as policy export does, and ask no server."`
}

// Run turns each policy of the file into a key policy that is attached to nothing.
func (c *policyImportPyKMIPCmd) Run() error {
	text, err := policyfiles.ReadDocument(c.File)
	if err != nil {
		return err
	}
	all, err := format.ImportPyKMIP(text)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(c.File), err)
	}
	files := policyfiles.NewTenant()
	for i := range all {
		files.Policies[all[i].Name] = policyfiles.Policy{Document: &all[i]}
	}
	if c.Into == "" {
		return c.applyFiles(files)
	}
	if err := policyfiles.Write(c.Into, files); err != nil {
		return err
	}
	fmt.Printf("%d policies are in %s\n", len(all), c.Into)
	return nil
}
