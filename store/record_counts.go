package store

import "github.com/keyreeve/keyreeve/core"

// selectCount returns the last count of a node's writer.
const selectCount = `SELECT coalesce(max(count), 0) FROM audit_entry WHERE node = $1 AND writer = $2`

// entryCounts numbers the entries of one writer: 1, 2, 3 ... for each node. A count
// that was not stored is given to the next entry, so the stored ones have no gap.
// This holds because one transaction at a time uses it.
type entryCounts struct {
	writer   int64
	last     map[string]int64 // stored last, by node; a node that is missing must be read first
	assigned []int64          // to the entries of the transaction under way
}

// readMissing asks for the last count of each node of the entries that is not known.
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

// assign fills in given. What it gives counts only once it is stored.
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

// noteStored notes that the entries, with what was given to them, are durable.
func (c *entryCounts) noteStored(entries []core.Entry) {
	for i := range entries {
		c.last[entries[i].Node] = c.assigned[i]
	}
}

// forget makes the next transaction read the last counts again.
func (c *entryCounts) forget() { clear(c.last) }
