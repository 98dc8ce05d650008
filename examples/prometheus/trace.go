package main

import (
	"github.com/gobosh/bosh"
)

// trace returns hooks. They feed c and then call those of next, if any.
func (c *Collector) trace(next *bosh.Trace) *bosh.Trace {
	var t bosh.Trace
	if next != nil {
		t = *next
	}
	request, response := t.Request, t.Response
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
