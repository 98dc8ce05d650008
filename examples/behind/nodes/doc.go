// Package nodes has configurations of load balancers that send each request to the
// process that has its session, whose name is in the sid: bosh.Options.Node. The tests run
// them, with build tag interop.
//
// haproxy.cfg reads the sid in the body. nginx.conf goes by a query argument, which the
// page adds to the URL of the endpoint: it chooses one of the nodes when it is loaded, and
// uses /http-bind?node=b for all requests. A node that is gone is answered for by a
// <body/> with item-not-found, and not by a status that clients take for a passing fault.
package nodes
