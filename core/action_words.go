package core

import "slices"

// EveryAction is the word for all actions that a policy can be asked for.
const EveryAction = "*"

// actionWords is the only list of the words that key policies and roles use for actions.
// Each action has exactly one word, so two words never mean the same. Beside its word, an
// action has its own name ("Get Attributes"). Words are in the order of their documents.
//
// There is no word "wrap" or "unwrap": a wrapping key is asked for Encrypt or Decrypt,
// so "encrypt" and "decrypt" cover it.
var actionWords = []ActionWord{
	{"encrypt", []Action{ActionEncrypt}}, // also of a wrapping key, if Get wraps under it
	{"decrypt", []Action{ActionDecrypt}}, // also of a wrapping key, if Register unwraps with it
	{"decrypt-unnamed", []Action{ActionDecryptUnnamed}},
	{"reencrypt", []Action{ActionReencryptFrom, ActionReencryptTo}}, // the first needs no right to decrypt
	{"datakey", []Action{ActionGenerateDataKey}},
	{"sign", []Action{ActionSign}},
	{"verify", []Action{ActionSignatureVerify, ActionMACVerify}},
	{"mac", []Action{ActionMAC}},
	{"hash", []Action{ActionHash}},
	{"random", []Action{ActionRNGRetrieve, ActionRNGSeed}},
	{"pkcs11", []Action{ActionPKCS11}},

	{"create", []Action{ActionCreate, ActionCreateKeyPair}},
	{"register", []Action{ActionRegister}},
	{"import", []Action{ActionImport, ActionCreateImportJob, ActionReadImportJob, ActionDeleteImportJob}},
	{"import-clear", []Action{ActionImportClear}}, // beside "register"
	{"derive", []Action{ActionDeriveKey}},
	{"split", []Action{ActionCreateSplitKey, ActionJoinSplitKey}},
	{"certify", []Action{ActionCertify, ActionReCertify}},
	{"rotate", []Action{ActionReKey, ActionReKeyKeyPair}},
	{"set-rotation", []Action{ActionSetRotation}},
	{"provision", []Action{ActionReProvision}},

	{"activate", []Action{ActionActivate}},
	{"revoke", []Action{ActionRevoke}},
	{"disable", []Action{ActionDisable}},
	{"enable", []Action{ActionEnable}},
	{"delete", []Action{ActionDestroy, ActionSoftDelete}}, // so that a denial covers DELETE over REST too
	{"restore", []Action{ActionRestore}},
	{"purge", []Action{ActionPurge}},
	{"archive", []Action{ActionArchive}},
	{"recover", []Action{ActionRecover}},
	{"lease", []Action{ActionObtainLease, ActionGetUsageAllocation}},

	{"list", []Action{ActionLocate}},
	{"read", []Action{ActionGetAttributes, ActionGetAttributeList, ActionCheck, ActionValidate, ActionGetConstraints}}, // never the key itself
	{"update", []Action{ActionAddAttribute, ActionModifyAttribute, ActionDeleteAttribute, ActionAdjustAttribute, ActionSetAttribute, ActionSetConstraints}},
	{"export", []Action{ActionGet, ActionExport}}, // the key itself leaves
	{"export-clear", []Action{ActionExportClear}}, // what it derives or unwraps leaves

	{"query", []Action{ActionQuery, ActionDiscoverVersions, ActionPing, ActionInterop}},
	{"poll", []Action{ActionPoll, ActionCancel, ActionProcess, ActionQueryAsynchronousRequests}},
	{"notify", []Action{ActionNotify, ActionPut}},
	{"login", []Action{ActionLogin, ActionLogout, ActionDelegatedLogin}},

	{"monitor", []Action{ActionReadHealth, ActionReadMetrics}},
	{"audit", []Action{ActionReadRecords}},
	{"simulate", []Action{ActionSimulatePolicy}},
	{"replay", []Action{ActionReplayPolicy}},
	{"operate", []Action{ActionReload, ActionSaveServerPolicy, ActionReadServerPolicy, ActionReadJobs, ActionChangeJob, ActionLog, ActionSetEndpointRole, ActionSetDefaults, ActionListTokenObjects, ActionPurgeTokenObject}},
	{"tenants", []Action{ActionCreateTenant, ActionListTenants, ActionReadTenant, ActionSaveTenant, ActionDeleteTenant}},
	{"policies", []Action{ActionSavePolicy, ActionDeletePolicy, ActionReadPolicies, ActionAttachPolicy, ActionDetachPolicy}},
	{"canaries", []Action{ActionSaveCanary, ActionDeleteCanary}},
	{"tokens", []Action{ActionIssueToken, ActionRevokeToken, ActionReadTokens}},
	{"approvals", []Action{ActionApproveRequest, ActionDenyRequest, ActionReadApprovals}},
	{"clients", []Action{ActionSaveClient, ActionRevokeClient, ActionReadClients, ActionDiagnoseClient, ActionEnrollClient, ActionRenewClient}},
	{"authority", []Action{ActionCreateAuthority, ActionReadRevocations}},
	{"people", []Action{ActionSaveUser, ActionDeleteUser, ActionReadUsers, ActionSaveRole, ActionDeleteRole, ActionReadRoles}},
}

// ActionWord is a word and the actions that it stands for.
type ActionWord struct {
	Word    string
	Actions []Action
}

// ActionWords lists the words, without [EveryAction]. Do not change it.
func ActionWords() []ActionWord { return actionWords }

// ActionsNamed returns the actions that a word or the own name of an action stands for.
// [EveryAction] stands for all that are askable. The letter case counts. It returns nil
// for anything else. Do not change the result.
func ActionsNamed(name string) []Action { return actionsByWord[name] }

var actionsByWord = indexWords()

func indexWords() map[string][]Action {
	every := slices.DeleteFunc(Actions(), func(a Action) bool { return !a.Askable() })
	words := map[string][]Action{EveryAction: every}
	for _, a := range every {
		words[a.String()] = []Action{a}
	}
	for _, w := range actionWords {
		words[w.Word] = w.Actions
	}
	return words
}
