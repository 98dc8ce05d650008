package a

import "testing"

// B1-1 in the comment of a test.
func TestOne(t *testing.T) {
	t.Run("B1-2 in a name", func(t *testing.T) {})
}

func TestTwo(t *testing.T) { helper(t) }

// B1-3 in what one test calls.
func helper(t *testing.T) {}

var table = []string{"B1-4 in a table of all"}
