package keyroutes

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine/objects"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

func readLife(*api.ActivateRequest) (in operation.LifeInput, err error) { return in, nil }

// lifeVerb is a verb that changes one key and needs no more than its name.
type lifeVerb func(*objects.Verbs, context.Context, *core.Caller, *operation.LifeInput) (operation.IDOutput, error)

// lifeRoute returns the handler of such a verb. Its answer needs no right to read the key.
func lifeRoute(action core.Action, verb lifeVerb) func(*service, *core.Caller, *http.Request) (keyAnswer, error) {
	return func(s *service, c *core.Caller, r *http.Request) (keyAnswer, error) {
		in, err := readFor(s, c, r, action, readLife)
		if err != nil {
			return keyAnswer{}, err
		}
		if in.ID, err = s.pathKey(c, r, action); err != nil {
			return keyAnswer{}, err
		}
		out, err := verb(s.Objects, r.Context(), c, &in)
		return showChanged(&out), err
	}
}

// showChanged returns what a change of the life of a key tells the caller.
func showChanged(out *operation.IDOutput) keyAnswer {
	if out.Changed == nil {
		return keyAnswer{}
	}
	k := keyAnswer{Key: api.Key{KeyID: out.ID, State: stateOf(out.Changed.Attributes)}, stored: out.Changed.ChangeNumber()}
	addLife(&k.Key, out.Changed.Attributes)
	return k
}

// addLife adds whether a key is disabled, archived or deleted.
func addLife(k *api.Key, as core.Attributes) {
	o := core.ManagedObject{Attributes: as}
	if k.State != "" {
		flag := o.Disabled()
		k.Disabled = &flag
	}
	k.ArchivedAt = dateOf(as, core.TagArchiveDate)
	if at, ok := rules.DateOf(&o, rules.DeletedAtAttribute); ok {
		k.DeletedAt = door.TimeText(at)
	}
	if at, ok := rules.DateOf(&o, rules.PurgeAtAttribute); ok {
		k.PurgeAt = door.TimeText(at)
	}
}

// deleteKey is Soft Delete: ?retention=.
func (s *service) deleteKey(c *core.Caller, r *http.Request) (keyAnswer, error) {
	var in operation.SoftDeleteInput
	q, err := door.ReadQuery(r, "retention")
	if err == nil {
		in.ID, err = keyNamed(r.PathValue("keyId"))
	}
	if text, given := q["retention"]; given && err == nil {
		in.Retention, err = readRetention(text)
	}
	if err != nil {
		return keyAnswer{}, s.Engine.RecordRefused(r.Context(), c, core.ActionSoftDelete, err)
	}
	out, err := s.Objects.SoftDelete(r.Context(), c, &in)
	return showChanged(&out), err
}

// readRetention reads a span such as 7d or 36h, in seconds. The verb has the bounds.
func readRetention(text string) (int64, error) {
	for unit, seconds := range map[string]int64{"d": 24 * 3600, "h": 3600} {
		if number, ok := strings.CutSuffix(text, unit); ok {
			if n, err := strconv.ParseUint(number, 10, 20); err == nil && n > 0 && number[0] != '0' {
				return int64(n) * seconds, nil
			}
		}
	}
	return 0, core.Errorf(core.InvalidField, `"retention" must be a span such as 7d or 36h, not %q`, door.Quotable(text))
}
