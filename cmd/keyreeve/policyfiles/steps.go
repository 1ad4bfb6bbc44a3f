package policyfiles

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/keyreeve/keyreeve/authz/keypolicy/format"
	"github.com/keyreeve/keyreeve/core"
)

// Step is one change of a server.
type Step struct {
	Title       string   // what it changes, for people
	Differences []string // of a document, a role or a user
	Method      string   // of the request to the admin socket
	Path        string
	Parameters  map[string]string
	Body        []byte
}

// Steps returns the changes that give a server what the files say, in the order in which
// they are made: roles, users, policies, attachments. What has no file stays. A policy is
// detached from holders that neither its file of attachments nor its document names, and
// never from an object.
func Steps(files, server *Tenant) (steps []Step, err error) {
	p := &planner{files: files, server: server, replaced: map[string]bool{}}
	p.planRoles()
	p.planUsers()
	p.planPolicies()
	p.planAttachments()
	return p.steps, p.err
}

// planner collects steps, and keeps the first error.
type planner struct {
	files, server *Tenant
	steps         []Step
	replaced      map[string]bool // policies that a step stores
	err           error
}

// addStep adds a step that saves a role, a user or a policy, if there are differences.
func (p *planner) addStep(title string, differences []string, s Step, err error) {
	if err != nil {
		p.err = err
	}
	if len(differences) == 0 {
		return
	}
	s.Title, s.Differences, s.Method = title, differences, "PUT"
	p.steps = append(p.steps, s)
}

// differencesOf compares two roles or users. old is nil if there is none.
func differencesOf(kind string, old, next any) ([]string, error) {
	var before, after map[string]members
	m, err := membersOf(next)
	if err != nil {
		return nil, err
	}
	after = map[string]members{kind: m}
	if old != nil {
		if m, err = membersOf(old); err != nil {
			return nil, err
		}
		before = map[string]members{kind: m}
	}
	return compareParts(before, after), nil
}

func (p *planner) planRoles() {
	for _, name := range namesInEither(p.files.Roles, nil) {
		next := p.files.Roles[name]
		var old any
		if r, ok := p.server.Roles[name]; ok {
			old = r
		}
		differences, err := differencesOf("role", old, next)
		body, encodeErr := core.EncodeBody(&next)
		if err == nil {
			err = encodeErr
		}
		p.addStep("role "+name, differences, Step{Path: "/roles/one", Parameters: map[string]string{"name": name}, Body: body}, err)
	}
}

// userBody has all members of a user but the password, which stays.
type userBody struct {
	Groups     []string          `json:"groups"`
	Roles      []string          `json:"roles"`
	Attributes map[string]string `json:"attributes"`
	Disabled   bool              `json:"disabled"`
	Expires    int64             `json:"expires"`
}

// bodyOf returns the change that gives a user everything that the file says. An empty list
// is a change, and null is none.
func bodyOf(u *core.User) userBody {
	b := userBody{Groups: u.Groups, Roles: u.Roles, Attributes: u.Attributes, Disabled: u.Disabled, Expires: u.Expires}
	if b.Groups == nil {
		b.Groups = []string{}
	}
	if b.Roles == nil {
		b.Roles = []string{}
	}
	if b.Attributes == nil {
		b.Attributes = map[string]string{}
	}
	return b
}

func (p *planner) planUsers() {
	for _, name := range namesInEither(p.files.Users, nil) {
		next := p.files.Users[name]
		title, mode := "user "+name, "existing"
		var old any
		if u, ok := p.server.Users[name]; ok {
			old = bodyOf(&u)
		} else {
			title, mode = title+" (new, without a password; set it with keyreeve user password)", "new"
		}
		body := bodyOf(&next)
		differences, err := differencesOf("user", old, body)
		text, encodeErr := json.Marshal(body)
		if err == nil {
			err = encodeErr
		}
		p.addStep(title, differences, Step{Path: "/users/one", Parameters: map[string]string{"name": name, mode: "yes"}, Body: text}, err)
	}
}

func (p *planner) planPolicies() {
	for _, name := range namesInEither(p.files.Policies, nil) {
		old, next := p.server.Policies[name], p.files.Policies[name]
		title := "policy " + name + " (new)"
		if old.Document != nil {
			title = fmt.Sprintf("policy %s (replaces version %d)", name, old.Version)
		}
		differences, err := Differences(old.Document, next.Document)
		text, encodeErr := next.Document.Text()
		if err == nil {
			err = encodeErr
		}
		p.replaced[name] = len(differences) > 0
		p.addStep(title, differences, Step{Path: "/policies/one", Parameters: map[string]string{"name": name, "expected": fmt.Sprint(old.Version)}, Body: text}, err)
	}
}

func (p *planner) planAttachments() {
	for _, name := range namesInEither(p.files.Policies, nil) {
		next := p.files.Policies[name]
		if next.Attached == nil {
			continue
		}
		now := p.server.Policies[name].Attached
		if now == nil {
			now = &Targets{}
		}
		named := holdersNamed(next.Document)
		have, wanted := now.Holders, slices.Concat(named, next.Attached.Holders)
		if p.replaced[name] {
			have = slices.Concat(have, named) // the server attaches it to them
		}
		for _, holder := range missingIn(have, next.Attached.Holders) {
			p.addAttachment("attach", name, "holder", holder)
		}
		for _, object := range missingIn(now.Objects, next.Attached.Objects) {
			p.addAttachment("attach", name, "object", object)
		}
		for _, holder := range missingIn(wanted, now.Holders) {
			p.addAttachment("detach", name, "holder", holder)
		}
	}
}

func (p *planner) addAttachment(verb, policy, kind, target string) {
	p.steps = append(p.steps, Step{Title: fmt.Sprintf("policy %s: %s %s", policy, verb, target), Method: "POST", Path: "/policies/" + verb,
		Parameters: map[string]string{"name": policy, kind: target}})
}

// holdersNamed lists the holders to which a document attaches its policy when it is stored.
func holdersNamed(d *format.Document) (holders []string) {
	if d.Targets.Kind == format.KeyTarget {
		return nil
	}
	for _, name := range d.Targets.Names {
		holders = append(holders, string(d.Targets.Kind)+":"+name)
	}
	return holders
}

// missingIn returns those of names that are not in known, sorted, each once.
func missingIn(known, names []string) (missing []string) {
	for _, name := range names {
		if !slices.Contains(known, name) {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	return slices.Compact(missing)
}
