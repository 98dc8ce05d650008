package main

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
)

// TestEchoReadsAfterTheEnd ends a session before echo has read anything. A context of
// the session's would keep its elements from echo.
func TestEchoReadsAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		returned := make(chan struct{})
		h := bosh.New(bosh.Options{Framing: bosh.Elements, Serve: func(st *bosh.Stream) {
			defer close(returned)
			<-st.Context().Done()
			echo(st) // reads one, and cannot write it
			if got, err := st.ReadElement(context.Background()); err != nil || string(got) != "<b xmlns='u'/>" {
				t.Errorf("next: %s, %v; want the second element", got, err)
			}
		}})
		defer h.Close()
		c, err := boshtest.Dial(t.Context(), boshtest.Config{Transport: boshtest.InMemory(h)})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Terminate(t.Context(), "<a xmlns='u'/>", "<b xmlns='u'/>"); err != nil {
			t.Error(err)
		}
		<-returned
	})
}
