package store

import (
	"context"
	"math/rand/v2"

	"github.com/keyreeve/keyreeve/core"
)

// usageStripes is the number of rows that count the usage of a tenant, so that
// simultaneous changes of one tenant seldom wait for each other.
const usageStripes = 16

// upsertUsage adds to one row. The usage of a tenant is the sum of its rows.
const upsertUsage = `INSERT INTO tenant_usage (tenant, stripe, objects, resident_keys, bytes) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (tenant, stripe) DO UPDATE ` +
	`SET objects = tenant_usage.objects + excluded.objects, resident_keys = tenant_usage.resident_keys + excluded.resident_keys, bytes = tenant_usage.bytes + excluded.bytes`

const selectUsage = `SELECT CAST(coalesce(sum(objects), 0) AS BIGINT), CAST(coalesce(sum(resident_keys), 0) AS BIGINT), CAST(coalesce(sum(bytes), 0) AS BIGINT) FROM tenant_usage WHERE tenant = $1`

type addUsage core.AddUsage

func (w addUsage) validate() error { return checkName("tenant", w.Tenant, false) }

func (addUsage) weight() int { return 0 }

// appendStatements only adds up usage: see [statementCollector.addUsageStatements].
func (w addUsage) appendStatements(l *statementCollector) error {
	for i := range l.usage {
		if l.usage[i].Tenant == w.Tenant {
			l.usage[i].Usage = l.usage[i].Usage.Add(w.Usage)
			return nil
		}
	}
	l.usage = append(l.usage, core.AddUsage(w))
	return nil
}

// addUsageStatements adds the statements that count. They are the last ones, because
// they lock a row that other changes of the tenant may wait for.
func (l *statementCollector) addUsageStatements() {
	for _, u := range l.usage {
		if u.Usage != (core.Usage{}) {
			l.addStatements(statement{text: upsertUsage, args: []any{u.Tenant, rand.IntN(usageStripes), u.Usage.Objects, u.Usage.ResidentKeys, u.Usage.Bytes}, doing: "count an object"})
		}
	}
}

// Usage implements [core.UsageTable].
func (t *tables) Usage(ctx context.Context, tenant string) (u core.Usage, err error) {
	err = t.query(ctx, func(r scanner) error { return r.Scan(&u.Objects, &u.ResidentKeys, &u.Bytes) }, selectUsage, tenant)
	return u, err
}
