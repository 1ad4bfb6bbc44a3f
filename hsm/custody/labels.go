package custody

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// Labels of token objects. Only the server sets them, and CKA_MODIFIABLE=0 keeps them.
// The label says what a key is for, never a row.
//
//	keyreeve/INSTALLATION/SET/PURPOSE       a key of a set; SET is a number, 0 the system set
//	keyreeve/INSTALLATION/object/TENANT/ID  a resident object of a client
//	keyreeve/INSTALLATION/authority/ID      a key that signs the certificates of enrolled clients
//
// TENANT and ID are path-escaped, so no name can contain a slash and look like another
// one. The words object and authority are not numbers, so no such key has the label of a set.
const labelPrefix = "keyreeve/"

// installationID is the form of an installation's id.
var installationID = regexp.MustCompile(`^[0-9a-f]{32}$`)

func setLabel(installation string, set int64, purpose string) string {
	return fmt.Sprintf("%s%s/%d/%s", labelPrefix, installation, set, purpose)
}

// objectLabels returns the start of the labels of all resident objects.
func objectLabels(installation string) string { return labelPrefix + installation + "/object/" }

func objectLabel(installation, tenant, id string) string {
	return objectLabels(installation) + url.PathEscape(tenant) + "/" + url.PathEscape(id)
}

func authorityLabel(installation, id string) string {
	return labelPrefix + installation + "/authority/" + id
}

// parseSystemSetLabel returns the installation whose system set has a key of this label.
func parseSystemSetLabel(label string) (string, bool) {
	rest, ok := strings.CutPrefix(label, labelPrefix)
	id, key, _ := strings.Cut(rest, "/")
	set, _, _ := strings.Cut(key, "/")
	return id, ok && set == "0" && installationID.MatchString(id)
}

// parseSetLabel returns the set whose key has a label, and the key's purpose.
func parseSetLabel(label string) (installation string, number int64, purpose string, ok bool) {
	parts := strings.Split(label, "/")
	if len(parts) != 4 {
		return "", 0, "", false
	}
	installation, purpose = parts[1], parts[3]
	number, err := strconv.ParseInt(parts[2], 10, 64)
	ok = err == nil && installationID.MatchString(installation) && slices.Contains(core.KeyPurposes, purpose) && setLabel(installation, number, purpose) == label
	return installation, number, purpose, ok
}

// parseObjectLabel returns the resident object of an installation that has a label.
func parseObjectLabel(installation, label string) (o core.TokenObject, ok bool) {
	rest, ok := strings.CutPrefix(label, objectLabels(installation))
	tenant, id, _ := strings.Cut(rest, "/")
	var err, err2 error
	o.Tenant, err = url.PathUnescape(tenant)
	o.ID, err2 = url.PathUnescape(id)
	return o, ok && err == nil && err2 == nil && objectLabel(installation, o.Tenant, o.ID) == label
}

// DescribeInstallations lists ids as a part of a sentence.
func DescribeInstallations(ids []string) string {
	if len(ids) == 0 {
		return "no installation"
	}
	return "installation " + strings.Join(ids, ", ")
}
