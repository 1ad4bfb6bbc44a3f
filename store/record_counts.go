package store

import "github.com/keyreeve/keyreeve/core"

// selectCount returns the last count of a node's writer.
const selectCount = `SELECT coalesce(max(count), 0) FROM audit_entry WHERE node = $1 AND writer = $2`

// entryCounts numbers the entries of one writer: 1, 2, 3 ... for each node. A count
// that was not stored is assigned again, so the stored counts have no gap. For that,
// only one transaction at a time may use it.
type entryCounts struct {
	writer   int64
	last     map[string]int64 // last stored count of each node; a missing node must be read first
	assigned []int64          // to the entries of the transaction that is under way
}

// readMissing reads the last count of each node of the entries, unless it is known.
func (c *entryCounts) readMissing(entries []core.Entry, last func(node string) (int64, error)) error {
	for i := range entries {
		node := entries[i].Node
		if _, known := c.last[node]; known {
			continue
		}
		n, err := last(node)
		if err != nil {
			return err
		}
		if c.last == nil {
			c.last = map[string]int64{}
		}
		c.last[node] = n
	}
	return nil
}

// assign sets assigned. The counts become used when the entries are stored.
func (c *entryCounts) assign(entries []core.Entry) {
	c.assigned = c.assigned[:0]
	for i := range entries {
		n := c.last[entries[i].Node]
		for before := i - 1; before >= 0; before-- {
			if entries[before].Node == entries[i].Node {
				n = c.assigned[before]
				break
			}
		}
		c.assigned = append(c.assigned, n+1)
	}
}

// noteStored notes that the entries with their assigned counts are durable.
func (c *entryCounts) noteStored(entries []core.Entry) {
	for i := range entries {
		c.last[entries[i].Node] = c.assigned[i]
	}
}

// forget drops the last counts, so that the next transaction reads them again.
func (c *entryCounts) forget() { clear(c.last) }
