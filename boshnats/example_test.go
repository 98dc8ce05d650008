package boshnats_test

import (
	"context"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshnats"
)

// A service that echoes. All that it knows of a client is in the session, and it keeps
// nothing while its function is not running, so Detach is all there is to stop.
func ExampleNode_HandOver() {
	leave := func(node *boshnats.Node, h *bosh.Handler) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		node.HandOver(ctx, func(ctx context.Context, s *bosh.Session) ([]byte, error) {
			for _, st := range s.Streams() {
				if err := st.Detach(ctx); err != nil {
					return nil, err
				}
			}
			state, err := s.Export(nil) // or what the next process is to know of the client
			if err != nil {
				for _, st := range s.Streams() {
					serve(st) // it goes on here
				}
			}
			return state, err
		})
		h.Shutdown(ctx)
		node.Leave()
	}
	_ = leave
}

// serve is for Options.Serve, and is called for sessions that are taken over, too.
func serve(st *bosh.Stream) {
	st.Receive(func(b []byte, err error) {
		if err == nil {
			st.Write(b)
		}
	})
}
