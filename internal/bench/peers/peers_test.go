package main

import (
	"os"
	"testing"
	"time"
)

// TestMain is the server's process, too.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "-serve" {
		if err := serve(os.Args[2]); err != nil {
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// TestFigures takes each figure of each kind, with little of everything.
func TestFigures(t *testing.T) {
	*seconds, *clients = time.Millisecond, 10
	bulk, settling, rounds = 64<<10, 0, 1
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			for _, m := range measures {
				figures := make(map[string]string)
				if err := measureOne(k, m, figures); err != nil {
					t.Fatalf("%s: %v", m.name, err)
				}
				for _, row := range m.rows {
					if figures[row] == "" {
						t.Errorf("%s: no figure for %q", m.name, row)
					}
				}
			}
		})
	}
}
