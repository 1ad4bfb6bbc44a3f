// Package csvtable reads tables in CSV whose first row names the columns. It relies on
// nothing. Start at [Read].
package csvtable

import (
	"encoding/csv"
	"io"
)

// Read returns the rows after the first. The keys of each are the names of the columns.
func Read(r io.Reader) (rows []map[string]string, err error) {
	all, err := csv.NewReader(r).ReadAll()
	if err != nil || len(all) == 0 {
		return nil, err
	}
	for _, cells := range all[1:] {
		row := map[string]string{}
		for i, column := range all[0] {
			row[column] = cells[i]
		}
		rows = append(rows, row)
	}
	return rows, nil
}
