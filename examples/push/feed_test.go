package main

import (
	"bytes"
	"testing"
)

func TestFeed(t *testing.T) {
	f := newFeed(3)
	all, next, changed := f.since(0)
	if len(all) != 0 || next != 0 {
		t.Fatalf("a new feed has %q", all)
	}
	f.publish([]byte("a"))
	select {
	case <-changed:
	default:
		t.Error("nobody was told of the first")
	}
	f.publish([]byte("b"))
	for _, test := range []struct {
		from int
		want string
	}{{0, "ab"}, {1, "b"}, {2, ""}} {
		if all, next, _ = f.since(test.from); string(bytes.Join(all, nil)) != test.want || next != 2 {
			t.Errorf("since %d: %q, next %d", test.from, all, next)
		}
	}
	f.publish([]byte("c"))
	f.publish([]byte("d"))
	if all, next, _ = f.since(0); string(bytes.Join(all, nil)) != "bcd" || next != 4 {
		t.Errorf("who cannot follow gets %q, next %d", all, next)
	}
	if all, _, changed = f.since(4); len(all) != 0 {
		t.Errorf("who has all gets %q", all)
	}
	select {
	case <-changed:
		t.Error("something is said to have changed")
	default:
	}
}
