package main

import (
	"net/http"

	"github.com/gobosh/bosh"
)

// trace returns hooks that feed c and then call those of next, if any.
func (c *Collector) trace(next *bosh.Trace) *bosh.Trace {
	var t bosh.Trace
	if next != nil {
		t = *next
	}
	refused, request, response := t.Refused, t.Request, t.Response
	t.Refused = func(r *http.Request, e *bosh.Error) {
		c.refused.WithLabelValues(string(e.Condition)).Inc() // a closed set
		if refused != nil {
			refused(r, e)
		}
	}
	t.Request = func(s *bosh.Session, i bosh.RequestInfo) {
		c.requestSize.Observe(float64(i.Bytes))
		if request != nil {
			request(s, i)
		}
	}
	t.Response = func(s *bosh.Session, i bosh.ResponseInfo) {
		c.requestOpen.Observe(i.Open.Seconds())
		c.responseSize.Observe(float64(i.Bytes))
		if response != nil {
			response(s, i)
		}
	}
	return &t
}
