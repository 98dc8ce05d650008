package main

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// Every load keeps its promise, and leaves nothing behind.
func TestLoads(t *testing.T) {
	for name, test := range map[string]struct {
		tells string
		seen  func(sample) bool
	}{
		"idle":   {"200 sessions said nothing for 25 s.", func(s sample) bool { return s.Sessions == 201 && s.Held == 201 }},
		"talk":   {"20 sessions sent 2000 payloads", func(s sample) bool { return s.In > 50 && s.Out > 50 }},
		"burst":  {"20 sessions sent 10000 payloads at once", func(s sample) bool { return s.Echo.N > 0 }},
		"broken": {"Of 3000 payloads each way none was lost, none came twice", func(s sample) bool { return s.Repeats > 0 && s.Echo.P95 > 0 }},
		"vanish": {"30 clients have gone", func(s sample) bool { return s.Ended["inactive"] == 30 }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t)
				p, other := s.open(t), s.open(t)
				p.next("sample")
				if err := other.Terminate(t.Context()); err != nil {
					t.Fatal(err)
				}
				p.do(command{Do: name})
				p.until(test.seen)
				p2 := s.open(t) // the result is kept for pages that come later
				if u := p2.next("notice"); u.Load != name || !strings.Contains(u.Text, test.tells) {
					t.Errorf("%s tells: %q", u.Load, u.Text)
				}
				p2.until(func(s sample) bool { return s.Sessions == 2 && len(s.Running) == 0 })
			})
		})
	}
}

func TestLoadRunsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		p := s.open(t)
		p.next("sample")
		p.do(command{Do: "idle"})
		p.until(func(s sample) bool { return slices.Equal(s.Running, []string{"idle"}) && s.Sessions == 201 })
		p.do(command{Do: "idle"})
		if u := p.next("refused"); u.Text != "this load runs already" {
			t.Errorf("the second one: %q", u.Text)
		}
		p.do(command{Do: "stop"})
		if u := p.next("notice"); u.Load != "idle" || u.Text != "Stopped." {
			t.Errorf("got %+v", u)
		}
		// They have gone in good order.
		if u := p.until(func(s sample) bool { return s.Sessions == 1 }); u.Ended["closed"] != 200 {
			t.Errorf("ended: %v", u.Ended)
		}
		s.load.close()
		if err := s.load.start("idle"); err == nil {
			t.Error("a load starts after the end")
		}
	})
}
