package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh/internal/spec"
)

const output = `
{"Action":"run","Package":"github.com/gobosh/bosh","Test":"TestA"}
{"Action":"pass","Package":"github.com/gobosh/bosh","Test":"TestA/B9.9-1_one_<thing>"}
{"Action":"fail","Package":"github.com/gobosh/bosh","Test":"TestA/B9.9-12_another"}
not JSON
{"Action":"fail","Package":"github.com/gobosh/bosh","Test":"TestA"}
{"Action":"pass","Package":"github.com/gobosh/bosh/internal/x","Test":"TestB"}
{"Action":"skip","Package":"github.com/gobosh/bosh/internal/x","Test":"TestC"}
`

// A requirement fails by its own subtests, and not by those of its neighbours; and it is
// not met if a test was skipped, or there is none.
func TestPage(t *testing.T) {
	r := make(results)
	r.read(strings.NewReader(output))
	const x = "B9.9-" // no ID by itself
	tests := map[string][]spec.Test{
		x + "1":  {{Dir: ".", File: "a_test.go", Name: "TestA", Sub: x + "1"}, {Dir: "internal/x", File: "x_test.go", Name: "TestB"}},
		x + "12": {{Dir: ".", File: "a_test.go", Name: "TestA", Sub: x + "12"}},
		x + "3":  {{Dir: "internal/x", File: "x_test.go", Name: "TestC"}},
		x + "5":  {{Dir: ".", File: "a_test.go", Name: "TestA"}},
	}
	var sections []spec.Section
	for _, n := range []string{"1", "12", "3", "4", "5"} {
		sections = append(sections, spec.Section{Title: n, Requirements: []spec.Requirement{{ID: x + n, Level: "MUST", Text: "<b>" + n + "</b>"}}})
	}
	p := newPage(sections, tests, []results{r, r})
	var got []string
	for _, s := range p.Sections {
		got = append(got, s.Rows[0].Outcomes...)
	}
	assert.Equal(t, []string{"pass", "pass", "fail", "fail", "skip", "skip", "none", "none", "fail", "fail"}, got)
	assert.Equal(t, []int{1, 1}, p.Passed)
	assert.Equal(t, 4, p.Failed)
	var b bytes.Buffer
	require.NoError(t, layout.Execute(&b, p))
	assert.Contains(t, b.String(), `<td class="pass">pass</td><td class="pass">pass</td>`)
	assert.Contains(t, b.String(), "&lt;b&gt;12")
}
