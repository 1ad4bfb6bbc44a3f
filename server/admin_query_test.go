package server

import (
	"net/url"
	"testing"
)

// A filter of records that is not understood is refused, never passed over.
func TestAuditFilterNeverWidens(t *testing.T) {
	for query, ok := range map[string]bool{
		"limit=5":                            true,
		"limit=5&since=1&until=2&before=3":   true,
		"limit=5&tenant=a&object=b&outcome=": true,
		"limit=5&principal=p&operation=Get":  true,
		"":                                   false,
		"limit=0":                            false,
		"limit=many":                         false,
		"limit=5&since=yesterday":            false,
		"limit=5&before=1e3":                 false,
		"limit=5&principle=p":                false,
		"limit=5&tenant=a&tenant=b":          false,
		"limit=5&until=99999999999999999999": false,
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := auditQuery(q); (err == nil) != ok {
			t.Errorf("%q: %v; want accepted %v", query, err, ok)
		}
	}
}
