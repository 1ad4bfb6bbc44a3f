// Package keyroutes has the routes of the REST door that make, show and use keys. They call
// the same verbs as the KMIP door, and decide nothing. Start at [Routes].
package keyroutes

import (
	"net/http"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/attributes"
	"github.com/keyreeve/keyreeve/engine/importjobs"
	"github.com/keyreeve/keyreeve/engine/objects"
	"github.com/keyreeve/keyreeve/engine/uses"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// Options are the parts that the routes use.
type Options struct {
	Objects    *objects.Verbs
	Uses       *uses.Verbs
	Attributes *attributes.Verbs
	ImportJobs *importjobs.Verbs
}

type service struct {
	*door.Door
	Options
}

// Routes returns the rows of keys and cryptography.
func Routes(d *door.Door, o Options) []door.Route {
	s := &service{d, o}
	return []door.Route{
		door.HonorOnce(door.Row(s, "POST", "/v1/keys", core.ActionCreate, door.TakesBody, http.StatusCreated, (*service).createKey), s, (*service).rebuildKey),
		door.Row(s, "GET", "/v1/keys", core.ActionLocate, door.TakesQuery, http.StatusOK, (*service).listKeys),
		door.Row(s, "GET", "/v1/keys/{keyId}", core.ActionGetAttributes, door.TakesNothing, http.StatusOK, (*service).getKey),
		door.Row(s, "DELETE", "/v1/keys/{keyId}", core.ActionSoftDelete, door.TakesQuery, http.StatusAccepted, (*service).deleteKey).HonorIfMatch(),
		door.Row(s, "GET", "/v1/tenants/{tenantId}/keys", core.ActionLocate, door.TakesQuery, http.StatusOK, (*service).keysOfTenant),
		door.Row(s, "POST", "/v1/keys/{keyId}/activate", core.ActionActivate, door.TakesBody, http.StatusOK, (*service).activateKey).HonorIfMatch(),
		door.Row(s, "POST", "/v1/keys/{keyId}/revoke", core.ActionRevoke, door.TakesBody, http.StatusOK, (*service).revokeKey).HonorIfMatch(),
		door.Row(s, "POST", "/v1/keys/{keyId}/disable", core.ActionDisable, door.TakesBody, http.StatusOK, lifeRoute(core.ActionDisable, (*objects.Verbs).Disable)).HonorIfMatch(),
		door.Row(s, "POST", "/v1/keys/{keyId}/enable", core.ActionEnable, door.TakesBody, http.StatusOK, lifeRoute(core.ActionEnable, (*objects.Verbs).Enable)).HonorIfMatch(),
		door.Row(s, "POST", "/v1/keys/{keyId}/restore", core.ActionRestore, door.TakesBody, http.StatusOK, lifeRoute(core.ActionRestore, (*objects.Verbs).Restore)).HonorIfMatch(),
		door.Row(s, "POST", "/v1/keys/{keyId}/purge", core.ActionPurge, door.TakesBody, http.StatusOK, lifeRoute(core.ActionPurge, (*objects.Verbs).PurgeDeleted)).HonorIfMatch(),
		door.Row(s, "POST", "/v1/keys/{keyId}/archive", core.ActionArchive, door.TakesBody, http.StatusOK, lifeRoute(core.ActionArchive, (*objects.Verbs).Archive)).HonorIfMatch(),
		door.Row(s, "POST", "/v1/keys/{keyId}/recover", core.ActionRecover, door.TakesBody, http.StatusOK, lifeRoute(core.ActionRecover, (*objects.Verbs).Recover)).HonorIfMatch(),
		door.HonorOnce(door.Row(s, "POST", "/v1/keys/{keyId}/rotate", core.ActionReKey, door.TakesBody, http.StatusOK, (*service).rotateKey).HonorIfMatch(), s, (*service).rebuildKey),
		door.Row(s, "POST", "/v1/keys/{keyId}/rotation", core.ActionSetRotation, door.TakesBody, http.StatusOK, (*service).setRotation).HonorIfMatch(),
		door.Row(s, "GET", "/v1/keys/{keyId}/rotation", core.ActionGetAttributes, door.TakesNothing, http.StatusOK, (*service).getRotation),
		door.Row(s, "GET", "/v1/keys/{keyId}/public-key", core.ActionGet, door.TakesQuery, http.StatusOK, (*service).publicKey),
		door.Row(s, "GET", "/v1/keys/{keyId}/versions", core.ActionGetAttributes, door.TakesQuery, http.StatusOK, (*service).listVersions),

		door.Row(s, "POST", "/v1/keys/import", core.ActionRegister, door.TakesBody, http.StatusCreated, (*service).importKey),
		door.Row(s, "GET", "/v1/keys/{keyId}/export", core.ActionGet, door.TakesQuery, http.StatusOK, (*service).exportKey),
		door.Row(s, "POST", "/v1/import-jobs", core.ActionCreateImportJob, door.TakesBody, http.StatusCreated, (*service).createJob),
		door.Row(s, "GET", "/v1/import-jobs/{jobId}", core.ActionReadImportJob, door.TakesNothing, http.StatusOK, (*service).getJob),
		door.Row(s, "DELETE", "/v1/import-jobs/{jobId}", core.ActionDeleteImportJob, door.TakesNothing, http.StatusNoContent, (*service).deleteJob),

		door.Row(s, "PUT", "/v1/aliases/{name}", core.ActionModifyAttribute, door.TakesBody, http.StatusOK, (*service).setAlias),
		door.Row(s, "GET", "/v1/aliases/{name}", core.ActionGetAttributes, door.TakesNothing, http.StatusOK, (*service).getAlias),
		door.Row(s, "DELETE", "/v1/aliases/{name}", core.ActionDeleteAttribute, door.TakesNothing, http.StatusNoContent, (*service).removeAlias),

		door.Row(s, "POST", "/v1/encrypt", core.ActionEncrypt, door.TakesBody, http.StatusOK, (*service).encrypt),
		door.Row(s, "POST", "/v1/decrypt", core.ActionDecrypt, door.TakesBody, http.StatusOK, (*service).decrypt),
		door.Row(s, "POST", "/v1/reencrypt", core.ActionReencryptTo, door.TakesBody, http.StatusOK, (*service).reencrypt),
		door.HonorOnceSecretly(door.Row(s, "POST", "/v1/data-keys", core.ActionGenerateDataKey, door.TakesBody, http.StatusOK, (*service).makeDataKey)),
		door.Row(s, "POST", "/v1/wrap", core.ActionEncrypt, door.TakesBody, http.StatusOK, (*service).wrap),
		door.Row(s, "POST", "/v1/unwrap", core.ActionDecrypt, door.TakesBody, http.StatusOK, (*service).unwrap),
		door.Row(s, "POST", "/v1/derive", core.ActionDeriveKey, door.TakesBody, http.StatusOK, (*service).derive),
		door.Row(s, "POST", "/v1/sign", core.ActionSign, door.TakesBody, http.StatusOK, (*service).sign),
		door.Row(s, "POST", "/v1/verify", core.ActionSignatureVerify, door.TakesBody, http.StatusOK, (*service).verify),
		door.Row(s, "POST", "/v1/mac", core.ActionMAC, door.TakesBody, http.StatusOK, (*service).makeMAC),
		door.Row(s, "POST", "/v1/mac/verify", core.ActionMACVerify, door.TakesBody, http.StatusOK, (*service).verifyMAC),
		door.Row(s, "POST", "/v1/hash", core.ActionHash, door.TakesBody, http.StatusOK, (*service).hash),
		door.Row(s, "GET", "/v1/random", core.ActionRNGRetrieve, door.TakesQuery, http.StatusOK, (*service).random),
		door.Row(s, "POST", "/v1/batch", core.ActionMessage, door.TakesBody, http.StatusOK, (*service).batch),
	}
}
