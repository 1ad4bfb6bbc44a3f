package keyreeve_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Bounds of the tree's shape. A room that outgrows one is split, or the bound is
// changed here with a reason.
const (
	maxImportChain  = 7     // packages, from the first to the last: cmd/keyreeve and core included
	maxPackageLines = 4_000 // without tests and generated files
	maxPackageShare = 20    // percent of all such lines
	maxMethods      = 40    // of one type
	maxStops        = 10    // of one Encrypt in docs/DESIGN.md
)

// stillLarge lists packages by lines, and types by methods, that are over a bound and
// wait to be split. They may shrink and not grow; no name is added.
var stillLarge = map[string]int{}

// source is one file of the tree that is neither a test nor generated.
type source struct {
	path, pkg string
	lines     int
	syntax    *ast.File
	positions *token.FileSet
}

func sources(t *testing.T) (all []source) {
	t.Helper()
	eachFile(t, ".go", func(path string) {
		if strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, "_gen.go") {
			return
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s := source{path: path, pkg: filepath.ToSlash(filepath.Dir(path)), lines: bytes.Count(b, []byte("\n")), positions: token.NewFileSet()}
		if s.syntax, err = parser.ParseFile(s.positions, path, b, parser.SkipObjectResolution); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	})
	return all
}

// receiver returns the name of a method's type, "" for a function.
func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil || len(f.Recv.List) == 0 {
		return ""
	}
	typ := f.Recv.List[0].Type
	for {
		switch at := typ.(type) {
		case *ast.StarExpr:
			typ = at.X
		case *ast.IndexExpr:
			typ = at.X
		case *ast.IndexListExpr:
			typ = at.X
		case *ast.Ident:
			return at.Name
		default:
			return ""
		}
	}
}

func TestPackagesAndTypesStaySmall(t *testing.T) {
	lines, methods, whole := map[string]int{}, map[string]int{}, 0
	for _, s := range sources(t) {
		lines[s.pkg] += s.lines
		whole += s.lines
		for _, d := range s.syntax.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil {
				methods[s.pkg+"."+receiver(f)]++
			}
		}
	}
	for pkg, n := range lines {
		if (n > maxPackageLines || n*100 > whole*maxPackageShare) && n > stillLarge[pkg] {
			t.Errorf("package %s has %d lines of %d; at most %d, and %d %%", pkg, n, whole, maxPackageLines, maxPackageShare)
		}
	}
	for typ, n := range methods {
		if n > max(maxMethods, stillLarge[typ]) {
			t.Errorf("type %s has %d methods, at most %d", typ, n, max(maxMethods, stillLarge[typ]))
		}
	}
}

func TestImportChainStaysShort(t *testing.T) {
	var longest func(pkg string) []string
	longest = func(pkg string) []string {
		var below []string
		for _, next := range layers[pkg] {
			if chain := longest(next); len(chain) > len(below) {
				below = chain
			}
		}
		return append([]string{pkg}, below...)
	}
	for pkg := range layers {
		if chain := longest(pkg); len(chain) > maxImportChain {
			t.Errorf("%s: %d packages in a row, at most %d", strings.Join(chain, " -> "), len(chain), maxImportChain)
		}
	}
}

// named finds "`name` in [file](...)" in a document.
var named = regexp.MustCompile("`([A-Za-z.]+)` in \\[([^\\]]+\\.go)\\]")

// What the documents name in a file is declared there.
func TestWhatDocumentsNameIsThere(t *testing.T) {
	for _, document := range []string{"docs/DESIGN.md", "docs/CONTRIBUTING.md"} {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		all := named.FindAllStringSubmatch(string(text), -1)
		if len(all) == 0 {
			t.Errorf("%s names nothing", document)
		}
		for _, n := range all {
			if !slices.Contains(declared(t, n[2]), n[1]) {
				t.Errorf("%s names %s in %s, which is not there", document, n[1], n[2])
			}
		}
	}
}

// declared lists the functions, methods (Type.Method), types, variables and
// constants of a file.
func declared(t *testing.T, path string) (names []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			names = append(names, strings.TrimPrefix(receiver(d)+"."+d.Name.Name, "."))
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					names = append(names, spec.Name.Name)
				case *ast.ValueSpec:
					for _, n := range spec.Names {
						names = append(names, n.Name)
					}
				}
			}
		}
	}
	return names
}

// docs/DESIGN.md follows one Encrypt in few stops, each of them a function.
func TestOneEncryptHasFewStops(t *testing.T) {
	text, err := os.ReadFile("docs/DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## One request\n")
	section, _, _ = strings.Cut(section, "\n## ")
	numbered := regexp.MustCompile(`(?m)^[0-9]+\. (.*)$`).FindAllStringSubmatch(section, -1)
	if len(numbered) < 5 || len(numbered) > maxStops {
		t.Errorf("docs/DESIGN.md has %d stops of one Encrypt; 5 to %d", len(numbered), maxStops)
	}
	for _, stop := range numbered {
		if m := named.FindStringIndex(stop[1]); m == nil || m[0] != 0 {
			t.Errorf("the stop %q does not begin with a function and its file", stop[1])
		}
	}
}
