// Package boshtest is a test kit for BOSH services (XEP-0124, XEP-0206): a
// client for tests, transports without sockets, and faults.
//
// [Dial] creates a session and returns a [Client], which is a
// [boshclient.Conn] of elements: it keeps a request with the server, repeats
// what was lost, and gives the payloads in order:
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
// What carries the requests is any [http.RoundTripper]. [InMemory] goes
// straight into an [http.Handler]; a [PipeServer] is a whole [http.Server]
// over connections in memory. Both work in a bubble of [testing/synctest], in
// which an hour of waiting takes no time and every duration is exact; so does
// the Client, which knows time by package time alone.
//
// [Faults] is a RoundTripper that breaks a share of the exchanges, or those
// that a test names: before the server sees the request, after it has answered,
// in the middle of the answer, while it holds the request; and it repeats,
// delays and reorders. [Proxy] does the like to real TCP connections. Both are
// reproducible by their seed. A [Sequence] then tells whether anything was
// lost, doubled or out of order.
//
// For tests that are about the wire itself there are [Exchange] and [Post],
// which send one raw body, and [ParseBody].
//
// Applications that are no tests use package boshclient. Both depend on the
// standard library alone and work with any BOSH server.
package boshtest
