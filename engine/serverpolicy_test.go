package engine_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/directory"
	"github.com/keyreeve/keyreeve/engine/serverpolicy"
)

// textPolicy is a server's policy whose texts are only compared. A text that contains a word
// of cannot is one that this node cannot use.
type textPolicy struct {
	tenantPolicy
	cannot string

	mu      sync.Mutex
	text    string // in force; "": none
	why     error
	decided []string          // all that were in force
	prepare func(text string) // called before a text is prepared; nil: not called
}

func (p *textPolicy) Hash() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text
}

func (p *textPolicy) Suspend(why error) { p.put("", why) }

func (p *textPolicy) put(text string, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text, p.why = text, why
	if text != "" {
		p.decided = append(p.decided, text)
	}
}

func (p *textPolicy) Prepare(_ context.Context, s core.PolicySource) (core.PreparedPolicy, error) {
	p.mu.Lock()
	prepare := p.prepare
	p.mu.Unlock()
	if prepare != nil {
		prepare(s.Policy)
	}
	if p.cannot != "" && strings.Contains(s.Policy, p.cannot) {
		return nil, core.Errorf(core.PolicyUnavailable, "this release does not know %s", p.cannot)
	}
	return preparedText{owner: p, text: s.Policy}, nil
}

type preparedText struct {
	tenantPolicy
	owner *textPolicy
	text  string
}

func (p preparedText) Hash() string { return p.text }
func (p preparedText) Activate()    { p.owner.put(p.text, nil) }

// policyNode is a node with a server's policy.
type policyNode struct {
	*serverpolicy.Keeper
	t      *testing.T
	w      *world
	policy *textPolicy
	file   string // "": the default of its release
	canary string // no policy that contains it is taken
	newest string // the default of its release
}

// newPolicyNode returns a node that is not started.
func newPolicyNode(t *testing.T, w *world, file string) *policyNode {
	t.Helper()
	n := &policyNode{t: t, w: w, policy: &textPolicy{}, file: file, newest: "default"}
	w.Ports.Policy = refusing{}
	return n
}

// start starts the node, or starts it again.
func (n *policyNode) start() error {
	n.t.Helper()
	d := directory.New(directory.Ports{Store: n.w.store, Clock: n.w.clock, Log: slog.New(slog.DiscardHandler)})
	cannot := n.policy.cannot
	n.policy = &textPolicy{cannot: cannot}
	n.Keeper = serverpolicy.New(serverpolicy.Ports{Engine: n.w.Engine, Directory: d, Policy: n.policy, Log: slog.New(slog.DiscardHandler), Default: core.PolicySource{Policy: n.newest, Tests: "t"},
		ReadFile: func() (serverpolicy.Offer, error) {
			if n.file == "" {
				return serverpolicy.Offer{PolicySource: core.PolicySource{Policy: n.newest, Tests: "t"}, Default: true}, nil
			}
			return serverpolicy.Offer{PolicySource: core.PolicySource{Policy: n.file, Tests: "t"}}, nil
		},
		CheckCanaries: func(_ context.Context, next core.Policy) ([]string, error) {
			if p := next.(preparedText); n.canary != "" && strings.Contains(p.text, n.canary) {
				return nil, core.Errorf(core.Conflict, "the canary would not hold any more")
			}
			return []string{"a canary of a tenant"}, nil
		}})
	if err := d.Open(ctx); err != nil {
		n.t.Fatal(err)
	}
	run, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { d.Follow(run) })
	err := n.Start(ctx)
	running.Go(func() { n.Follow(run) })
	n.t.Cleanup(func() { stop(); running.Wait() })
	return err
}

// reaches waits until a policy is in force; "" until none is.
func (n *policyNode) reaches(what, want string) {
	n.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); n.policy.Hash() != want; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			n.t.Fatalf("%s: the policy %q is in force; want %q", what, n.policy.Hash(), want)
		}
	}
}

// reads reads the file again and tells whether it has a note about it.
func (n *policyNode) reads(file, want string, noted bool) {
	n.t.Helper()
	n.file = file
	if err := n.TakeFile(ctx, "by a reload"); err != nil {
		n.t.Errorf("the file %q: %v", file, err)
	}
	if got := n.policy.Hash(); got != want || (n.FileNote() != "") != noted {
		n.t.Errorf("after the file %q, %q is in force with the note %q; want %q, a note: %v", file, got, n.FileNote(), want, noted)
	}
}

func (n *policyNode) apply(text string) error {
	_, err := n.Apply(ctx, socket, serverpolicy.ApplyInput{PolicySource: core.PolicySource{Policy: text, Tests: "t"}})
	return err
}

// Two nodes whose files differ do not replace each other's policy: each text is taken once,
// whichever node reads it, restarts and reloads included.
func TestFilesOfTwoNodesDoNotFight(t *testing.T) {
	w := newWorld(t)
	w.store.shared = true
	a, b := newPolicyNode(t, w, "a1"), newPolicyNode(t, w, "b1")
	if err := a.start(); err != nil || a.policy.Hash() != "a1" {
		t.Fatalf("an empty database takes the file: %v, %q in force", err, a.policy.Hash())
	}
	if err := b.start(); err != nil {
		t.Fatal(err)
	}
	b.reaches("a new text of another node", "b1")
	a.reaches("what the other node stored", "b1")
	for range 2 {
		a.reads("a1", "b1", true)
		b.reads("b1", "b1", false)
		if err := a.start(); err != nil {
			t.Fatal(err)
		}
		a.reaches("a restart with an old file", "b1")
	}
	a.reads("a2", "a2", false)
	b.reaches("a new text of the first node", "a2")
	b.reads("b1", "a2", true)
	a.reads("a1", "a2", true)
	if err := b.apply("a1"); err != nil { // a command may
		t.Fatal(err)
	}
	a.reaches("an old text by command", "a1")
	a.reads("a2", "a1", true)
}

// A default of a release is taken by an empty database, and by a database of one node if a
// default is in force. It never replaces what an operator chose.
func TestNewDefaultsReplaceOnlyDefaults(t *testing.T) {
	for _, shared := range []bool{false, true} {
		w := newWorld(t)
		w.store.shared = shared
		n := newPolicyNode(t, w, "")
		steps := []struct{ what, release, file, alone, want string }{
			{what: "the first start", release: "default", want: "default"},
			{what: "another release", release: "default2", alone: "default2", want: "default"},
			{what: "the release before", release: "default", alone: "default2", want: "default"},
			{what: "a file", release: "default", file: "own", want: "own"},
			{what: "without the file", release: "default", want: "own"},
			{what: "one more release", release: "default3", want: "own"},
		}
		for _, s := range steps {
			n.newest, n.file = s.release, s.file
			if err := n.start(); err != nil {
				t.Fatal(err)
			}
			want := s.want
			if !shared && s.alone != "" {
				want = s.alone
			}
			if got := n.policy.Hash(); got != want {
				t.Errorf("database shared: %v, %s: %q is in force, want %q", shared, s.what, got, want)
			}
		}
		if _, err := n.Apply(ctx, socket, serverpolicy.ApplyInput{Default: true}); err != nil || n.policy.Hash() != "default3" {
			t.Errorf("the command for the default: %v, %q in force", err, n.policy.Hash())
		}
	}
}

// A node that cannot use the version in force decides nothing, also after a restart, and
// serves again under the next version. A start without any usable policy fails.
func TestNodeThatCannotUseTheVersionDecidesNothing(t *testing.T) {
	w := newWorld(t)
	w.store.shared = true
	young, old := newPolicyNode(t, w, "one"), newPolicyNode(t, w, "one")
	old.policy.cannot = "new action"
	for _, n := range []*policyNode{young, old} {
		if err := n.start(); err != nil {
			t.Fatal(err)
		}
	}
	if err := young.apply("with a new action"); err != nil {
		t.Fatal(err)
	}
	old.reaches("a version that it cannot use", "")
	if old.policy.mu.Lock(); core.CodeOf(old.policy.why) != core.PolicyUnavailable {
		t.Errorf("the reason is %v; want Policy Unavailable", old.policy.why)
	}
	old.policy.mu.Unlock()
	if err := old.start(); err == nil || !strings.Contains(err.Error(), "does not know new action") || old.policy.Hash() != "" {
		t.Errorf("it starts again: %v, %q in force; want a refusal", err, old.policy.Hash())
	}
	old.file = "another way out"
	if err := old.start(); err != nil || old.policy.Hash() != "another way out" {
		t.Errorf("with a file that was never in force: %v, %q in force", err, old.policy.Hash())
	}
	young.reaches("the way out", "another way out")
}

// A node that still prepares a version when it must decide by a newer one drops it: the version in
// between is never in force there.
func TestNodeDropsTheVersionThatItPreparesForANewerOne(t *testing.T) {
	w := newWorld(t)
	w.store.shared = true
	fast, slow := newPolicyNode(t, w, "one"), newPolicyNode(t, w, "one")
	for _, n := range []*policyNode{fast, slow} {
		if err := n.start(); err != nil {
			t.Fatal(err)
		}
	}
	begun, goOn := make(chan struct{}), make(chan struct{})
	slow.policy.mu.Lock()
	slow.policy.prepare = func(text string) {
		if text == "two" {
			close(begun)
			<-goOn
		}
	}
	slow.policy.mu.Unlock()
	if err := fast.apply("two"); err != nil {
		t.Fatal(err)
	}
	<-begun
	if err := fast.apply("three"); err != nil {
		t.Fatal(err)
	}
	waitsForThree := func() bool {
		slow.policy.mu.Lock()
		defer slow.policy.mu.Unlock()
		return slow.policy.text == "" && slow.policy.why != nil && strings.Contains(slow.policy.why.Error(), "version 3 ")
	}
	for deadline := time.Now().Add(10 * time.Second); !waitsForThree(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the node does not know that version 3 must be in force")
		}
	}
	close(goOn)
	slow.reaches("the newest version", "three")
	slow.policy.mu.Lock()
	defer slow.policy.mu.Unlock()
	if got := strings.Join(slow.policy.decided, " "); got != "one three" || slow.VersionInForce() != 3 {
		t.Errorf("the policies %q were in force, the last one as version %d; want one and three, version 3", got, slow.VersionInForce())
	}
}

// A text that cannot be used, an operator's canary, another version than the expected one
// and a caller without the right leave everything as it is. So does a version that is not
// kept, for a rollback.
func TestRefusedServerPoliciesChangeNothing(t *testing.T) {
	w := newWorld(t)
	n := newPolicyNode(t, w, "one")
	n.policy.cannot, n.canary = "broken", "caged"
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	apply := func(text string, expected int64) func() error {
		return func() error {
			_, err := n.Apply(ctx, socket, serverpolicy.ApplyInput{PolicySource: core.PolicySource{Policy: text, Tests: "t"}, Expected: expected})
			return err
		}
	}
	rollBack := func() error {
		_, err := n.RollBack(ctx, socket, 7, "")
		return err
	}
	for what, c := range map[string]struct {
		code core.Code
		do   func() error
	}{
		"a broken text":            {core.InvalidField, apply("broken", 0)},
		"an empty text":            {core.InvalidField, apply("", 0)},
		"a text without room":      {core.InvalidField, apply(strings.Repeat("\"", core.MaxDirectoryBody/2), 0)},
		"a canary":                 {core.Conflict, apply("caged", 0)},
		"another version":          {core.Conflict, apply("two", 2)},
		"a version that is absent": {core.ItemNotFound, rollBack},
	} {
		if err := c.do(); core.CodeOf(err) != c.code || n.policy.Hash() != "one" || n.VersionInForce() != 1 {
			t.Errorf("%s: %v, %q in force as version %d; want %v, and version 1", what, err, n.policy.Hash(), n.VersionInForce(), c.code)
		}
	}
	w.Ports.Policy = refusing{action: core.ActionSaveServerPolicy}
	for what, do := range map[string]func() error{"apply": apply("two", 0), "roll back": rollBack} {
		if err := do(); core.CodeOf(err) != core.PermissionDenied {
			t.Errorf("a caller without the right may %s: %v", what, err)
		}
	}
	w.Ports.Policy = refusing{action: core.ActionReadServerPolicy}
	if v, err := n.Show(ctx, socket, 0); core.CodeOf(err) != core.PermissionDenied || v.Policy != "" {
		t.Errorf("a caller without the right reads %q, %v", v.Policy, err)
	}
}

// Each version has its author and its texts, a rollback stores an old text as a new version,
// and the record names version and broken canaries of tenants.
func TestServerPolicyHistory(t *testing.T) {
	w := newWorld(t)
	n := newPolicyNode(t, w, "one")
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	if err := n.apply("two"); err != nil {
		t.Fatal(err)
	}
	if out, err := n.RollBack(ctx, socket, 1, ""); err != nil || out.Version != 3 || n.policy.Hash() != "one" {
		t.Fatalf("rollback: %+v, %v, %q in force", out, err, n.policy.Hash())
	}
	all, err := n.History(ctx, socket, 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range all {
		got = append(got, fmt.Sprintf("%d %s %s %v %q", v.Version, v.Author, v.Origin, v.InForce, v.Policy+v.Reason))
	}
	want := []string{`3 system/socket file true "back to version 1"`, `2 system/socket command false ""`, `1 system/keyreeve file false "at start"`}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the history is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if v, err := n.Show(ctx, socket, 2); err != nil || v.Policy != "two" || v.Tests != "t" || v.InForce {
		t.Errorf("version 2 is %+v, %v", v, err)
	}
	if v, err := n.Show(ctx, socket, 0); err != nil || v.Version != 3 || v.Policy != "one" || !v.InForce {
		t.Errorf("the newest is %+v, %v", v, err)
	}
	var saved []string
	for _, e := range w.store.entries {
		if text := string(e.Body); strings.HasPrefix(text, "Save Server Policy allowed") {
			saved = append(saved, text)
		}
	}
	if len(saved) != 2 || !strings.Contains(saved[0], "version 2, from the command, in place of version 1; a canary of a tenant") {
		t.Errorf("the records of two new versions are %q", saved)
	}
}
