package bosh_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/internal/wire"
)

// constants returns the constants of bosh.go that have a type, with their values as
// they are written, and the empty string for those that go on a list.
func constants(t *testing.T, typ string) (names, values []string) {
	file, err := parser.ParseFile(token.NewFileSet(), "bosh.go", nil, 0)
	require.NoError(t, err)
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		current := ""
		for _, spec := range g.Specs {
			v := spec.(*ast.ValueSpec)
			if id, ok := v.Type.(*ast.Ident); ok {
				current = id.Name
			} else if len(v.Values) > 0 {
				current = ""
			}
			if current != typ {
				continue
			}
			value := ""
			if len(v.Values) > 0 {
				if lit, ok := v.Values[0].(*ast.BasicLit); ok {
					value = lit.Value
				}
			}
			names, values = append(names, v.Names[0].Name), append(values, value)
		}
	}
	return names, values
}

// Every condition that the protocol has is one that the application can use, and there
// is no other.
func TestConditionsAreThoseOfTheProtocol(t *testing.T) {
	var has []string
	_, values := constants(t, "Condition")
	for _, v := range values {
		name, err := strconv.Unquote(v)
		require.NoError(t, err)
		has = append(has, name)
	}
	assert.ElementsMatch(t, slices.Collect(wire.Conditions()), has)
}

// Every Framing has a name, and can be had.
func TestFramingsAreKnown(t *testing.T) {
	names, _ := constants(t, "Framing")
	require.NotEmpty(t, names)
	for i, name := range names {
		assert.Equal(t, name, bosh.Framing(i).String())
	}
	assert.True(t, strings.HasPrefix(bosh.Framing(len(names)).String(), "Framing("))
}
