// Package nodes has configurations of load balancers. They send each request to the
// process of its session; its name is in the sid: bosh.Options.Node. The tests run them,
// with build tag interop.
//
// haproxy.cfg reads the sid in the body. So does nginx-njs.conf, by the script nodes.js: it
// needs nginx's module for JavaScript. nginx.conf needs none: it goes by a query argument
// from the page. On load the page chooses one of the nodes, and uses /http-bind?node=b for
// all requests. For a node that is gone the balancer answers by a <body/> with item-not-found,
// since clients take a status for a passing fault.
package nodes
