package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"github.com/gobosh/bosh/internal/logs"
	"github.com/gobosh/bosh/internal/session"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// docOf returns the documentation of an option, in one line.
func docOf(t *testing.T, option string) (doc string) {
	f, err := parser.ParseFile(token.NewFileSet(), "../bosh.go", nil, parser.ParseComments|parser.SkipObjectResolution)
	require.NoError(t, err)
	ast.Inspect(f, func(n ast.Node) bool {
		if field, ok := n.(*ast.Field); ok && len(field.Names) == 1 && field.Names[0].Name == option {
			doc = strings.Join(strings.Fields(field.Doc.Text()), " ")
		}
		return true
	})
	require.NotEmpty(t, doc, option)
	return doc
}

// functionOf returns a function of a file.
func functionOf(t *testing.T, path, name string) *ast.FuncDecl {
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Name.Name == name {
			return fn
		}
	}
	require.Fail(t, "no such function", "%s of %s", name, path)
	return nil
}

// The doc of Compress names the content codings, the best first.
func TestDocOfCompress(t *testing.T) {
	doc := docOf(t, "Compress")
	_, codings, _ := strings.Cut(doc, " by ")
	codings, _, _ = strings.Cut(codings, ".")
	codings = strings.NewReplacer(" or else ", ",", ", ", ",").Replace(codings)
	assert.Equal(t, new(session.Grant).Attributes().Accept, codings, "Compress: compressed by …")
}

// The doc of Logger names each key and level of sessions in the log, and the level of each
// cause of a refusal.
func TestDocOfLogger(t *testing.T) {
	doc := docOf(t, "Logger")
	for _, place := range []struct{ path, function string }{
		{"logs/notices.go", "Refused"}, {"logs/notices.go", "Begins"}, {"../handler.go", "logEnd"}, {"../handler.go", "over"},
	} {
		ast.Inspect(functionOf(t, place.path, place.function), func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit:
				if word, err := strconv.Unquote(n.Value); err == nil && ident.MatchString(word) {
					assert.Regexp(t, `\b`+word+`\b`, doc, "%s logs the key %s", place.function, word)
				}
			case *ast.SelectorExpr:
				if level, ok := strings.CutPrefix(n.Sel.Name, "Level"); ok && level != "Warn" {
					assert.Contains(t, doc, "level "+level, "%s logs at that level", place.function)
				}
			}
			return true
		})
	}
	says := map[string]string{
		"ByClient": "All else is at level Debug", "Trouble": "as any error besides *Error, is at level Warn",
		"BySessions": "A limit on sessions is at level Info, every ten seconds at most",
		"ByAddress":  "A limit on sessions is at level Info, every ten seconds at most",
		"ByMemory":   "at most, and so is MaxMemory",
	}
	assert.Equal(t, 10.0, logs.Every.Seconds(), "the doc says ten seconds")
	f, err := parser.ParseFile(token.NewFileSet(), "logs/notices.go", nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	causes := 0
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		first := g.Specs[0].(*ast.ValueSpec)
		if typ, ok := first.Type.(*ast.Ident); !ok || typ.Name != "Cause" {
			continue
		}
		for _, spec := range g.Specs {
			cause := spec.(*ast.ValueSpec).Names[0].Name
			if assert.NotEmpty(t, says[cause], "say here, and in the doc of Logger, at which level the cause %s is logged", cause) {
				assert.Contains(t, doc, says[cause], cause)
			}
			causes++
		}
	}
	assert.Equal(t, len(says), causes, "causes")
}
