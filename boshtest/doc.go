// Package boshtest is a test kit for BOSH services (XEP-0124, XEP-0206): a
// client for tests, transports without sockets, and faults.
//
// [Dial] creates a session and returns a [Client], a [boshclient.Conn] of
// elements. It keeps a request with the server, repeats lost requests, and
// gives the payloads in order:
//
//	c, err := boshtest.Dial(ctx, boshtest.Config{
//		To:        "example.com",
//		Transport: boshtest.InMemory(handler),
//	})
//	…
//	defer c.Close()
//	err = c.Send(ctx, `<ping xmlns='urn:example'/>`)
//	pong, err := c.Recv(ctx)
//
// Any [http.RoundTripper] carries the requests. [InMemory] goes straight into
// an [http.Handler]; a [PipeServer] is a whole [http.Server] over connections
// in memory. Both work in a bubble of [testing/synctest]: an hour of waiting
// takes no time there, and every duration is exact. So does the Client, since
// it knows time by package time alone.
//
// [Faults] is a RoundTripper. It breaks a share of the exchanges, or those
// named by a test: before the server sees the request, after it has answered,
// in the middle of the answer, while it holds the request; and it repeats,
// delays and reorders. [Proxy] does the like to real TCP connections. Both are
// reproducible by their seed. A [Sequence] then tells whether anything was
// lost, doubled or out of order.
//
// For tests of the wire itself there are [ParseBody], and [Exchange] and [Post]
// for one raw body.
//
// Applications use package boshclient. Both depend on the standard library
// alone and work with any BOSH server.
package boshtest
