package httpd

import "github.com/keyreeve/keyreeve/api"

// What the bodies must be, by the specification.

func (*newPolicy) Schema() *api.Schema         { return (*api.NewPolicy)(nil).Schema() }
func (*replacedPolicy) Schema() *api.Schema    { return (*api.ReplacedPolicy)(nil).Schema() }
func (*rollback) Schema() *api.Schema          { return (*api.Rollback)(nil).Schema() }
func (*withdrawal) Schema() *api.Schema        { return (*api.Withdrawal)(nil).Schema() }
func (*ReplayQuestion) Schema() *api.Schema    { return (*api.ReplayQuestion)(nil).Schema() }
func (*target) Schema() *api.Schema            { return (*api.AttachmentTarget)(nil).Schema() }
func (*policyOfKey) Schema() *api.Schema       { return (*api.PolicyOfKey)(nil).Schema() }
func (*Canary) Schema() *api.Schema            { return (*api.Canary)(nil).Schema() }
func (*simulation) Schema() *api.Schema        { return (*api.Simulation)(nil).Schema() }
func (*newUser) Schema() *api.Schema           { return (*api.NewUser)(nil).Schema() }
func (*userChange) Schema() *api.Schema        { return (*api.UserChange)(nil).Schema() }
func (*newRole) Schema() *api.Schema           { return (*api.NewRole)(nil).Schema() }
func (*roleChange) Schema() *api.Schema        { return (*api.RoleChange)(nil).Schema() }
func (*clientBody) Schema() *api.Schema        { return (*api.NewClient)(nil).Schema() }
func (*clientChange) Schema() *api.Schema      { return (*api.ClientChange)(nil).Schema() }
func (*renewal) Schema() *api.Schema           { return (*api.Renewal)(nil).Schema() }
func (*newTenant) Schema() *api.Schema         { return (*api.NewTenant)(nil).Schema() }
func (*tenantChange) Schema() *api.Schema      { return (*api.TenantChange)(nil).Schema() }
func (*deletionConfirmed) Schema() *api.Schema { return (*api.TenantDeletion)(nil).Schema() }
func (*tenantRestored) Schema() *api.Schema    { return (*api.TenantRestore)(nil).Schema() }
func (*tokenBody) Schema() *api.Schema         { return (*api.TokenRequest)(nil).Schema() }
func (*revokeBody) Schema() *api.Schema        { return (*api.TokenRevocation)(nil).Schema() }
func (*verifyBody) Schema() *api.Schema        { return (*api.TokenQuestion)(nil).Schema() }
func (*approvalAnswer) Schema() *api.Schema    { return (*api.ApprovalAnswer)(nil).Schema() }
