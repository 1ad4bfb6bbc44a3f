package bench

import (
	"cmp"
	"fmt"
	"slices"
)

// side is something that is measured in turns with others.
type side struct {
	name string
	run  func() (result, error)
}

// compareInRounds measures one side and those beside it in turns, so that whatever else the
// machine does meets all of them. It prints the round of the one side with the median of its rates,
// and for each of the others the median of the ratios, with the lowest and the highest.
func compareInRounds(rounds, connections int, measured side, beside []side) error {
	results := make([]result, rounds)
	ratios := make([][]float64, len(beside))
	for i := range rounds {
		var err error
		if results[i], err = measured.run(); err != nil {
			return err
		}
		for j, other := range beside {
			r, err := other.run()
			if err != nil {
				return fmt.Errorf("%s: %w", other.name, err)
			}
			ratios[j] = append(ratios[j], results[i].ops/r.ops)
		}
	}
	slices.SortFunc(results, func(a, b result) int { return cmp.Compare(a.ops, b.ops) })
	fmt.Printf("%-16s c=%-4d %v", measured.name, connections, results[rounds/2])
	for j, other := range beside {
		slices.Sort(ratios[j])
		fmt.Printf("  %.2f of %s (%.2f to %.2f)", ratios[j][rounds/2], other.name, ratios[j][0], ratios[j][rounds-1])
	}
	fmt.Println()
	return nil
}
