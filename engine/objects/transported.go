package objects

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/engine"
)

// ImportJobs are the transport keys that keys are imported under.
type ImportJobs interface {
	// Open returns a job of the caller. It stores nothing.
	Open(k *engine.Call, id string) (operation.OpenedJob, error)
	// ShowEnded is called when a change that ends a job is stored.
	ShowEnded(k *engine.Call, id string, ch *core.Change)
}

// UseImportJobs makes Register import keys under jobs. It must be called before the first
// operation.
func (v *Verbs) UseImportJobs(jobs ImportJobs) { v.jobs = jobs }

// takeTransported takes a key that is wrapped under the transport key of an import job, and adds
// the end of the job to ch. The key is never clear in this process.
func (v *Verbs) takeTransported(k *engine.Call, o *core.ManagedObject, in *operation.RegisterInput, ch *core.Change) error {
	switch in.ObjectType {
	case core.ObjectTypeSymmetricKey, core.ObjectTypePrivateKey, core.ObjectTypeSecretData:
	default:
		return core.Errorf(core.InvalidObjectType, "a %v is not imported under an import job", in.ObjectType)
	}
	if v.jobs == nil {
		return core.Errorf(core.FeatureNotSupported, "this server has no import jobs")
	}
	if err := requireForRegistered(o, in); err != nil {
		return err
	}
	k.Record.Detail = "import job " + core.ClientText(in.ImportJob)
	job, err := v.jobs.Open(k, in.ImportJob)
	if err != nil {
		return err
	}
	spec, err := wrappedSpec(o, &in.Object.KeyBlock)
	if err != nil {
		return err
	}
	if err := placeKey(k, o, &spec, false); err != nil {
		return err
	}
	var facts core.KeyFacts
	if o.Material, facts, err = k.Ports.HSM.ImportTransported(k.Ctx, o.Key(), spec, job.Key, job.Transport, in.Object.KeyBlock.Wrapped); err != nil {
		return err
	}
	noteTaken(k, o, facts)
	ch.Add(job.End)
	return nil
}
