package spec

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each requirement is named by a test, and tests name no others.
func TestEachRequirementHasATest(t *testing.T) {
	tests, err := Tests(filepath.Join("..", ".."))
	require.NoError(t, err)
	levels := make(map[string]int)
	n := 0
	for _, s := range Sections() {
		for _, r := range s.Requirements {
			n++
			levels[r.Level]++
			assert.NotEmpty(t, tests[r.ID], "no test names %s: %s", r.ID, r.Text)
			assert.NotEmpty(t, r.Text)
			delete(tests, r.ID)
		}
	}
	assert.Equal(t, 273, n)
	assert.Equal(t, map[string]int{"MUST": 54, "SHOULD": 69, "MAY": 25, "IMPLIED": 125}, levels)
	for id := range maps.Keys(tests) {
		t.Errorf("there is no %s: %v", id, tests[id])
	}
}

func TestScan(t *testing.T) {
	dir := t.TempDir() // the file has another name here: it names no requirements of ours
	text, err := os.ReadFile(filepath.Join("testdata", "scanned.txt"))
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "a"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a", "a_test.go"), text, 0o644))
	tests, err := Tests(dir)
	require.NoError(t, err)
	const file, x = "a/a_test.go", "B1-" // no ID by itself: this file is read, too
	assert.Equal(t, map[string][]Test{
		x + "1": {{"a", file, "TestOne", ""}},
		x + "2": {{"a", file, "TestOne", x + "2"}},
		x + "3": {{"a", file, "TestTwo", ""}},
		x + "4": {{"a", file, "TestOne", x + "4"}, {"a", file, "TestTwo", x + "4"}},
	}, tests)
}
