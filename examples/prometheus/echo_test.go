package main

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
)

// TestEchoReadsToTheEnd ends sessions by a request that has elements, while echo waits
// for input. A context that the end cancels would keep the elements from echo now and
// then.
func TestEchoReadsToTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		returned := make(chan struct{})
		h := bosh.New(bosh.Options{Framing: bosh.Elements, Serve: func(st *bosh.Stream) {
			echo(st) // reads one, and cannot write it
			if got, err := st.ReadElement(context.Background()); err != nil || string(got) != "<b xmlns='u'/>" {
				t.Errorf("next: %s, %v; want the second element", got, err)
			}
			returned <- struct{}{}
		}})
		defer h.Close()
		for range 20 {
			c, err := boshtest.Dial(t.Context(), boshtest.Config{Transport: boshtest.InMemory(h)})
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // echo reads
			if err := c.Terminate(t.Context(), "<a xmlns='u'/>", "<b xmlns='u'/>"); err != nil {
				t.Error(err)
			}
			<-returned
		}
	})
}
