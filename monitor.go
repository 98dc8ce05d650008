package bosh

import (
	"errors"
	"net/http"

	"github.com/gobosh/bosh/internal/monitor"
)

// Monitor returns a handler that shows the live sessions, a hundred at a time,
// as a page and as JSON (by the header Accept or by ?format=json), and that
// ends the one whose ID is posted to it as id, by policy-violation. Pages of
// other origins cannot do so; a program sends a header Bosh-Monitor along.
//
// It shows addresses, domains and counts, never a payload nor a sid. Even so
// it is for operators: mount it where only they come.
func (h *Handler) Monitor() http.Handler {
	return monitor.New(monitor.Source[*Session]{
		Totals: func() monitor.Totals {
			n := h.Stats()
			return monitor.Totals{Counts: monitor.Counts(n.SessionStats), Sessions: n.Sessions, Created: n.Created, Ended: n.Ended}
		},
		Sessions: h.Sessions(),
		Counts:   func(s *Session) monitor.Counts { return monitor.Counts(s.Stats()) },
		Streams: func(s *Session) (to []string) {
			for _, st := range s.Streams() {
				to = append(to, st.Opening().To)
			}
			return to
		},
		End: func(s *Session) {
			s.Terminate(&Error{Condition: PolicyViolation, Err: errors.New("ended by an operator")})
		},
	})
}
