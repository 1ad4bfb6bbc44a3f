package store_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/store/storetest"
)

func BenchmarkEntries(b *testing.B) {
	s := created(b, "sqlite:"+filepath.Join(b.TempDir(), "bench.db"))
	defer s.Close()
	body := make([]byte, 230)
	for _, n := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetParallelism(n)
			b.ReportAllocs()
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if err := s.Commit(ctx, core.ChangeOf(core.AppendEntry{Entry: &core.Entry{Tenant: "t", Time: 1, Body: body}})); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

// BenchmarkBirths stores objects as Create does: row, search rows and record.
func BenchmarkBirths(b *testing.B) {
	var next atomic.Int64
	for _, url := range []string{"sqlite:" + filepath.Join(b.TempDir(), "bench.db"), storetest.Postgres(b)} {
		s := created(b, url)
		defer s.Close()
		name, _, _ := strings.Cut(url, ":")
		for _, n := range []int{1, 16, 64} {
			b.Run(fmt.Sprint(name, " ", n), func(b *testing.B) {
				b.SetParallelism(n)
				b.ReportAllocs()
				b.RunParallel(func(p *testing.PB) {
					for p.Next() {
						o := storetest.Object("t", fmt.Sprint("born-", next.Add(1)))
						if err := s.Commit(ctx, core.ChangeOf(core.InsertObject{Object: o}, core.AppendEntry{Entry: &core.Entry{Tenant: "t", Time: 1, Body: make([]byte, 230)}})); err != nil {
							b.Fatal(err)
						}
					}
				})
			})
		}
	}
}
