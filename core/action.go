package core

import (
	"strconv"
	"strings"
)

// Action is one thing that can be asked of the server, or that the server does by
// itself. Policy, records and metrics speak of actions; only the KMIP door speaks
// of operations. The zero Action means no action.
//
// A request for an operation that no version of KMIP has still leaves a record.
// Its Action has no row in the table and holds the number of the operation.
type Action uint64

// unknownOperation marks an Action that holds the number of an unknown operation.
const unknownOperation Action = 1 << 32

// ActionOf returns the action of a KMIP operation. Operation 0 stands for a message
// whose operations have not been read: its action is ActionMessage.
func ActionOf(op Operation) Action {
	if op == 0 {
		return ActionMessage
	}
	if a, ok := actionsByOperation[op]; ok {
		return a
	}
	return unknownOperation | Action(op)
}

// ActionByName finds an action by its name in records or by its XML form, in any
// letter case.
func ActionByName(name string) (Action, bool) {
	name = strings.ToLower(name)
	if number, ok := strings.CutPrefix(name, "0x"); ok {
		op, err := strconv.ParseUint(number, 16, 32)
		return ActionOf(Operation(op)), err == nil
	}
	a, ok := actionsByName[name]
	return a, ok
}

// Actions lists the actions that have a row, in the order of the table.
func Actions() []Action {
	all := make([]Action, 0, len(actionTable)-1)
	for a := range actionTable[1:] {
		all = append(all, Action(a+1))
	}
	return all
}

// Info returns the row of an action, or nil if it has none.
func (a Action) Info() *ActionInfo {
	if a == 0 || a >= Action(len(actionTable)) {
		return nil
	}
	return &actionTable[a]
}

// Askable reports whether the policy can be asked for the action.
func (a Action) Askable() bool {
	row := a.Info()
	return row != nil && row.Kind != ServerEvent
}

// MakesKey reports whether the action makes, takes or replaces a key, whose algorithm, length and
// usage statements of key policies can judge.
func (a Action) MakesKey() bool {
	switch a {
	case ActionCreate, ActionCreateKeyPair, ActionRegister, ActionImportClear, ActionReKey, ActionReKeyKeyPair, ActionDeriveKey:
		return true
	}
	return false
}

// Kind returns the kind of an action, or "" if it has no row.
func (a Action) Kind() ActionKind {
	if row := a.Info(); row != nil {
		return row.Kind
	}
	return ""
}

// String returns the name in the table, or the number of an operation that KMIP does
// not have.
func (a Action) String() string {
	switch row := a.Info(); {
	case row != nil:
		return row.Name
	case a == 0:
		return ""
	}
	return Operation(a &^ unknownOperation).String()
}

// ActionKind is the kind of right that an action needs.
type ActionKind string

// The kinds of actions.
const (
	UseAction        ActionKind = "use"        // uses the value of a key, or reveals it
	ManageAction     ActionKind = "manage"     // makes, changes or ends an object or a session
	ReadAction       ActionKind = "read"       // only reads: attributes, the server, one tenant
	AdministerAction ActionKind = "administer" // changes the server itself, its HSM or its tenants, or reads what belongs to all tenants
	ServerEvent      ActionKind = "event"      // the server does it by itself and records it
)

// ActionKinds lists the kinds that a policy can meet.
var ActionKinds = []ActionKind{UseAction, ManageAction, ReadAction, AdministerAction}

// ActionObjects says for which objects the policy is asked.
type ActionObjects uint8

// How many objects the policy is asked about.
const (
	NoObject    ActionObjects = iota // the policy is asked once, without an object
	OneObject                        // the policy is asked about the object that the request names
	ManyObjects                      // the policy is asked without an object, then about each object that is found
)

// ActionInfo is a row of the table of actions.
type ActionInfo struct {
	Name      string    // the standard's, if it is an operation of KMIP
	Operation Operation // 0: not an operation of KMIP
	Kind      ActionKind
	Objects   ActionObjects
}

// xmlName returns the name without spaces, which is the XML form of an operation.
func (i *ActionInfo) xmlName() string {
	if row := enumOperation.Lookup(uint32(i.Operation)); row != nil {
		return row.XML
	}
	return strings.ReplaceAll(i.Name, " ", "")
}

// The actions, with a comment if the name does not explain itself.
const (
	_ Action = iota

	// The operations of KMIP, offered or not. A failed handshake is a Login too.
	ActionCreate
	ActionCreateKeyPair
	ActionRegister
	ActionReKey
	ActionDeriveKey
	ActionCertify
	ActionReCertify
	ActionLocate
	ActionCheck
	ActionGet
	ActionGetAttributes
	ActionGetAttributeList
	ActionAddAttribute
	ActionModifyAttribute
	ActionDeleteAttribute
	ActionObtainLease
	ActionGetUsageAllocation
	ActionActivate
	ActionRevoke
	ActionDestroy
	ActionArchive
	ActionRecover
	ActionValidate
	ActionQuery
	ActionCancel
	ActionPoll
	ActionNotify
	ActionPut
	ActionReKeyKeyPair
	ActionDiscoverVersions
	ActionEncrypt
	ActionDecrypt
	ActionSign
	ActionSignatureVerify
	ActionMAC
	ActionMACVerify
	ActionRNGRetrieve
	ActionRNGSeed
	ActionHash
	ActionCreateSplitKey
	ActionJoinSplitKey
	ActionImport
	ActionExport
	ActionLog
	ActionLogin
	ActionLogout
	ActionDelegatedLogin
	ActionAdjustAttribute
	ActionSetAttribute
	ActionSetEndpointRole
	ActionPKCS11
	ActionInterop
	ActionReProvision
	ActionSetDefaults
	ActionSetConstraints
	ActionGetConstraints
	ActionQueryAsynchronousRequests
	ActionProcess
	ActionPing

	// Uses of keys that KMIP has no operation for. An envelope with the name of its key is
	// Encrypt and Decrypt.
	ActionDecryptUnnamed  // an envelope, by whatever key it names
	ActionReencryptFrom   // the envelope was made with the key
	ActionReencryptTo     // the new envelope is made with the key
	ActionGenerateDataKey // random bytes in an envelope
	ActionExportClear     // bytes that a key derives or unwraps leave in clear

	// Other requests to the server.
	ActionImportClear     // Register over REST, of a key that is not wrapped. Both are asked for
	ActionCreateImportJob // with a transport key of the HSM
	ActionReadImportJob   // one's own
	ActionDeleteImportJob
	ActionDisable    // the value of a key is not used until Enable
	ActionEnable     // after Disable
	ActionSoftDelete // Restore is possible for a time
	ActionRestore    // after Soft Delete
	ActionPurge      // Destroy after Soft Delete

	ActionSetRotation // when the clock rotates a key

	ActionReadHealth       // the state of every part of the server
	ActionReadMetrics      // its figures
	ActionListTokenObjects // orphans and sets of keys in the HSM
	ActionPurgeTokenObject // an orphan in the HSM is destroyed
	ActionCreateTenant
	ActionListTenants
	ActionReadTenant     // the caller's own: its settings and its state
	ActionSaveTenant     // its settings, and whether it is disabled
	ActionDeleteTenant   // to ask for it, to confirm it, or to take it back
	ActionReadRecords    // the audit records of all tenants
	ActionSimulatePolicy // what the policy would decide for any principal
	ActionReplayPolicy   // what a version of a key policy would change in recorded requests
	ActionReload         // of policy, authorities, certificates and PIN
	ActionSavePolicy     // a version of a key policy
	ActionDeletePolicy
	ActionReadPolicies
	ActionAttachPolicy // to an object, a user, a role or a group
	ActionDetachPolicy
	ActionSaveUser // a version of a user, also of the password
	ActionDeleteUser
	ActionReadUsers
	ActionSaveRole
	ActionDeleteRole
	ActionReadRoles
	ActionSaveCanary // a request that must stay denied or allowed
	ActionDeleteCanary
	ActionIssueToken // an access token
	ActionRevokeToken
	ActionReadTokens // those that were issued, or what one of them may do
	ActionApproveRequest
	ActionDenyRequest
	ActionReadApprovals
	ActionSaveClient   // an enrolled client: its groups and roles, a certificate, an invitation
	ActionRevokeClient // its certificates and its invitation
	ActionReadClients
	ActionDiagnoseClient   // see what a client last sent, and why it was refused
	ActionEnrollClient     // by an invitation
	ActionRenewClient      // its own certificate, by that certificate
	ActionCreateAuthority  // of enrolled clients, with a key in the HSM
	ActionReadRevocations  // of the certificates of enrolled clients, of all tenants
	ActionSaveServerPolicy // policies.rego
	ActionReadServerPolicy
	ActionReadJobs  // of the clock
	ActionChangeJob // to run, pause or resume one

	// Events that the server records.
	ActionMessage // a request message that was refused as a whole
	ActionUndo    // a batch was undone
	ActionStart
	ActionCreateInstallation
	ActionCreateTenantKeys
	ActionRetireTenantKeys // a set that could not be finished
	ActionDestroyTenantKeys
	ActionReconcile   // the intent of a token object was closed
	ActionDateReached // the clock reached a date of an object
	ActionLoadPolicy
	ActionLoadPIN
	ActionLoadCertificates
	ActionLoadClientAuthorities
	ActionLoadRevocationList
	ActionTrustCertificate
	ActionDistrustCertificate
	ActionCheckCanary // one does not hold
)

// actionTable is the list of all actions. A new action needs a constant above and a
// row here; policies.rego then says who may ask for it. The kind follows from what a
// permission gives away: Get is a use because it reveals the key, and Re-key is
// management because its new key belongs to the owner of the old one.
var actionTable = [...]ActionInfo{
	ActionCreate:                    {"Create", OperationCreate, ManageAction, NoObject},
	ActionCreateKeyPair:             {"Create Key Pair", OperationCreateKeyPair, ManageAction, NoObject},
	ActionRegister:                  {"Register", OperationRegister, ManageAction, NoObject},
	ActionReKey:                     {"Re-key", OperationReKey, ManageAction, OneObject},
	ActionDeriveKey:                 {"Derive Key", OperationDeriveKey, UseAction, OneObject},
	ActionCertify:                   {"Certify", OperationCertify, ManageAction, OneObject},
	ActionReCertify:                 {"Re-certify", OperationReCertify, ManageAction, OneObject},
	ActionLocate:                    {"Locate", OperationLocate, ReadAction, ManyObjects},
	ActionCheck:                     {"Check", OperationCheck, ReadAction, OneObject},
	ActionGet:                       {"Get", OperationGet, UseAction, OneObject},
	ActionGetAttributes:             {"Get Attributes", OperationGetAttributes, ReadAction, OneObject},
	ActionGetAttributeList:          {"Get Attribute List", OperationGetAttributeList, ReadAction, OneObject},
	ActionAddAttribute:              {"Add Attribute", OperationAddAttribute, ManageAction, OneObject},
	ActionModifyAttribute:           {"Modify Attribute", OperationModifyAttribute, ManageAction, OneObject},
	ActionDeleteAttribute:           {"Delete Attribute", OperationDeleteAttribute, ManageAction, OneObject},
	ActionObtainLease:               {"Obtain Lease", OperationObtainLease, ManageAction, OneObject},
	ActionGetUsageAllocation:        {"Get Usage Allocation", OperationGetUsageAllocation, UseAction, OneObject},
	ActionActivate:                  {"Activate", OperationActivate, ManageAction, OneObject},
	ActionRevoke:                    {"Revoke", OperationRevoke, ManageAction, OneObject},
	ActionDestroy:                   {"Destroy", OperationDestroy, ManageAction, OneObject},
	ActionArchive:                   {"Archive", OperationArchive, ManageAction, OneObject},
	ActionRecover:                   {"Recover", OperationRecover, ManageAction, OneObject},
	ActionValidate:                  {"Validate", OperationValidate, ReadAction, OneObject},
	ActionQuery:                     {"Query", OperationQuery, ReadAction, NoObject},
	ActionCancel:                    {"Cancel", OperationCancel, ManageAction, NoObject},
	ActionPoll:                      {"Poll", OperationPoll, ReadAction, NoObject},
	ActionNotify:                    {"Notify", OperationNotify, ManageAction, NoObject},
	ActionPut:                       {"Put", OperationPut, ManageAction, NoObject},
	ActionReKeyKeyPair:              {"Re-key Key Pair", OperationReKeyKeyPair, ManageAction, OneObject},
	ActionDiscoverVersions:          {"Discover Versions", OperationDiscoverVersions, ReadAction, NoObject},
	ActionEncrypt:                   {"Encrypt", OperationEncrypt, UseAction, OneObject},
	ActionDecrypt:                   {"Decrypt", OperationDecrypt, UseAction, OneObject},
	ActionSign:                      {"Sign", OperationSign, UseAction, OneObject},
	ActionSignatureVerify:           {"Signature Verify", OperationSignatureVerify, UseAction, OneObject},
	ActionMAC:                       {"MAC", OperationMAC, UseAction, OneObject},
	ActionMACVerify:                 {"MAC Verify", OperationMACVerify, UseAction, OneObject},
	ActionRNGRetrieve:               {"RNG Retrieve", OperationRNGRetrieve, UseAction, NoObject},
	ActionRNGSeed:                   {"RNG Seed", OperationRNGSeed, UseAction, NoObject},
	ActionHash:                      {"Hash", OperationHash, UseAction, NoObject},
	ActionCreateSplitKey:            {"Create Split Key", OperationCreateSplitKey, UseAction, OneObject},
	ActionJoinSplitKey:              {"Join Split Key", OperationJoinSplitKey, UseAction, OneObject},
	ActionImport:                    {"Import", OperationImport, ManageAction, NoObject},
	ActionExport:                    {"Export", OperationExport, UseAction, OneObject},
	ActionLog:                       {"Log", OperationLog, AdministerAction, NoObject},
	ActionLogin:                     {"Login", OperationLogin, ManageAction, NoObject},
	ActionLogout:                    {"Logout", OperationLogout, ManageAction, NoObject},
	ActionDelegatedLogin:            {"Delegated Login", OperationDelegatedLogin, ManageAction, NoObject},
	ActionAdjustAttribute:           {"Adjust Attribute", OperationAdjustAttribute, ManageAction, OneObject},
	ActionSetAttribute:              {"Set Attribute", OperationSetAttribute, ManageAction, OneObject},
	ActionSetEndpointRole:           {"Set Endpoint Role", OperationSetEndpointRole, AdministerAction, NoObject},
	ActionPKCS11:                    {"PKCS#11", OperationPKCS11, UseAction, NoObject},
	ActionInterop:                   {"Interop", OperationInterop, ManageAction, NoObject},
	ActionReProvision:               {"Re-Provision", OperationReProvision, ManageAction, OneObject},
	ActionSetDefaults:               {"Set Defaults", OperationSetDefaults, AdministerAction, NoObject},
	ActionSetConstraints:            {"Set Constraints", OperationSetConstraints, ManageAction, OneObject},
	ActionGetConstraints:            {"Get Constraints", OperationGetConstraints, ReadAction, OneObject},
	ActionQueryAsynchronousRequests: {"Query Asynchronous Requests", OperationQueryAsynchronousRequests, ReadAction, NoObject},
	ActionProcess:                   {"Process", OperationProcess, ReadAction, NoObject},
	ActionPing:                      {"Ping", OperationPing, ReadAction, NoObject},

	ActionDecryptUnnamed:  {"Decrypt Unnamed", 0, UseAction, OneObject},
	ActionReencryptFrom:   {"Reencrypt From", 0, UseAction, OneObject},
	ActionReencryptTo:     {"Reencrypt To", 0, UseAction, OneObject},
	ActionGenerateDataKey: {"Generate Data Key", 0, UseAction, OneObject},
	ActionExportClear:     {"Export Clear", 0, UseAction, OneObject},

	ActionImportClear:     {"Import Clear", 0, ManageAction, NoObject},
	ActionCreateImportJob: {"Create Import Job", 0, ManageAction, NoObject},
	ActionReadImportJob:   {"Read Import Job", 0, ReadAction, NoObject},
	ActionDeleteImportJob: {"Delete Import Job", 0, ManageAction, NoObject},

	ActionDisable:    {"Disable", 0, ManageAction, OneObject},
	ActionEnable:     {"Enable", 0, ManageAction, OneObject},
	ActionSoftDelete: {"Soft Delete", 0, ManageAction, OneObject},
	ActionRestore:    {"Restore", 0, ManageAction, OneObject},
	ActionPurge:      {"Purge", 0, ManageAction, OneObject},

	ActionSetRotation: {"Set Rotation", 0, ManageAction, OneObject},

	ActionReadHealth:       {"Read Health", 0, ReadAction, NoObject},
	ActionReadMetrics:      {"Read Metrics", 0, ReadAction, NoObject},
	ActionListTokenObjects: {"List Token Objects", 0, AdministerAction, NoObject},
	ActionPurgeTokenObject: {"Purge Token Object", 0, AdministerAction, NoObject},
	ActionCreateTenant:     {"Create Tenant", 0, AdministerAction, NoObject},
	ActionListTenants:      {"List Tenants", 0, AdministerAction, NoObject},
	ActionReadTenant:       {"Read Tenant", 0, ReadAction, NoObject},
	ActionSaveTenant:       {"Save Tenant", 0, AdministerAction, NoObject},
	ActionDeleteTenant:     {"Delete Tenant", 0, AdministerAction, NoObject},
	ActionReadRecords:      {"Read Records", 0, AdministerAction, NoObject},
	ActionSimulatePolicy:   {"Simulate Policy", 0, ReadAction, NoObject},
	ActionReplayPolicy:     {"Replay Policy", 0, ReadAction, NoObject},
	ActionReload:           {"Reload", 0, AdministerAction, NoObject},
	ActionSavePolicy:       {"Save Policy", 0, AdministerAction, NoObject},
	ActionDeletePolicy:     {"Delete Policy", 0, AdministerAction, NoObject},
	ActionReadPolicies:     {"Read Policies", 0, ReadAction, NoObject},
	ActionAttachPolicy:     {"Attach Policy", 0, AdministerAction, NoObject},
	ActionDetachPolicy:     {"Detach Policy", 0, AdministerAction, NoObject},
	ActionSaveUser:         {"Save User", 0, AdministerAction, NoObject},
	ActionDeleteUser:       {"Delete User", 0, AdministerAction, NoObject},
	ActionReadUsers:        {"Read Users", 0, ReadAction, NoObject},
	ActionSaveRole:         {"Save Role", 0, AdministerAction, NoObject},
	ActionDeleteRole:       {"Delete Role", 0, AdministerAction, NoObject},
	ActionReadRoles:        {"Read Roles", 0, ReadAction, NoObject},
	ActionSaveCanary:       {"Save Canary", 0, AdministerAction, NoObject},
	ActionDeleteCanary:     {"Delete Canary", 0, AdministerAction, NoObject},
	ActionIssueToken:       {"Issue Token", 0, ManageAction, NoObject},
	ActionRevokeToken:      {"Revoke Token", 0, ManageAction, NoObject},
	ActionReadTokens:       {"Read Tokens", 0, ReadAction, NoObject},
	ActionApproveRequest:   {"Approve Request", 0, ManageAction, NoObject},
	ActionDenyRequest:      {"Deny Request", 0, ManageAction, NoObject},
	ActionReadApprovals:    {"Read Approvals", 0, ReadAction, NoObject},
	ActionSaveClient:       {"Save Client", 0, AdministerAction, NoObject},
	ActionRevokeClient:     {"Revoke Client", 0, AdministerAction, NoObject},
	ActionReadClients:      {"Read Clients", 0, ReadAction, NoObject},
	ActionDiagnoseClient:   {"Diagnose Client", 0, ReadAction, NoObject},
	ActionEnrollClient:     {"Enroll Client", 0, ManageAction, NoObject},
	ActionRenewClient:      {"Renew Client", 0, ManageAction, NoObject},
	ActionCreateAuthority:  {"Create Authority", 0, AdministerAction, NoObject},
	ActionReadRevocations:  {"Read Revocations", 0, AdministerAction, NoObject},
	ActionSaveServerPolicy: {"Save Server Policy", 0, AdministerAction, NoObject},
	ActionReadServerPolicy: {"Read Server Policy", 0, AdministerAction, NoObject},
	ActionReadJobs:         {"Read Jobs", 0, AdministerAction, NoObject},
	ActionChangeJob:        {"Change Job", 0, AdministerAction, NoObject},

	ActionMessage:               {"Message", 0, ServerEvent, NoObject},
	ActionUndo:                  {"Undo", 0, ServerEvent, NoObject},
	ActionStart:                 {"Start", 0, ServerEvent, NoObject},
	ActionCreateInstallation:    {"Create Installation", 0, ServerEvent, NoObject},
	ActionCreateTenantKeys:      {"Create Tenant Keys", 0, ServerEvent, NoObject},
	ActionRetireTenantKeys:      {"Retire Tenant Keys", 0, ServerEvent, NoObject},
	ActionDestroyTenantKeys:     {"Destroy Tenant Keys", 0, ServerEvent, NoObject},
	ActionReconcile:             {"Reconcile", 0, ServerEvent, NoObject},
	ActionDateReached:           {"Date Reached", 0, ServerEvent, NoObject},
	ActionLoadPolicy:            {"Load Policy", 0, ServerEvent, NoObject},
	ActionLoadPIN:               {"Load PIN", 0, ServerEvent, NoObject},
	ActionLoadCertificates:      {"Load Certificates", 0, ServerEvent, NoObject},
	ActionLoadClientAuthorities: {"Load Client Authorities", 0, ServerEvent, NoObject},
	ActionLoadRevocationList:    {"Load Revocation List", 0, ServerEvent, NoObject},
	ActionTrustCertificate:      {"Trust Certificate", 0, ServerEvent, NoObject},
	ActionDistrustCertificate:   {"Distrust Certificate", 0, ServerEvent, NoObject},
	ActionCheckCanary:           {"Check Canary", 0, ServerEvent, NoObject},
}

var actionsByOperation, actionsByName = indexActions()

func indexActions() (map[Operation]Action, map[string]Action) {
	operations, names := map[Operation]Action{}, map[string]Action{}
	for _, a := range Actions() {
		row := a.Info()
		if row.Operation != 0 {
			operations[row.Operation] = a
		}
		names[strings.ToLower(row.Name)], names[strings.ToLower(row.xmlName())] = a, a
	}
	return operations, names
}
