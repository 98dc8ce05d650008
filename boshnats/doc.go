// Package boshnats has any of several processes serve any request of a BOSH session, by
// way of NATS. Clients may reach them through a load balancer that knows nothing of
// sessions:
//
//	server, nc, err := embed.Start(embed.Config{Listen: "10.0.0.1:6222", Routes: routes}) // or nats.Connect(url)
//	node, err := boshnats.Join(nc, boshnats.Options{Addr: embed.Addr(server)})
//	h := bosh.New(bosh.Options{Node: node.Name(), Relay: node.Relay})
//	node.Serve(h)
//	…
//	h.Shutdown(ctx)
//	node.Leave()
//
// A session stays in the process that has created it. Its sid names that process, and a
// request that comes in at another one is passed on as a NATS message, and so is the
// answer. Nothing is stored. What goes amiss on the way has the client's connection
// closed, and the client repeats its request, as BOSH has it. If the process is gone the
// client is told item-not-found, within a second.
//
// A process that cannot be reached is not gone if others hear it: then they pass on what
// is for it, so a route between two NATS servers that breaks ends nothing. If none of
// them hears it, [Options.Addr] tells a dead process, told of at once, from one that
// is cut off, which has [Options.Patience] to come back.
//
// # Subjects
//
// With the default [Options.Subject] they are:
//
//	bosh.node.<name>                   requests of the sessions of that node
//	bosh.reply.<name>.<instance>.<id>  answers to those that it has passed on
//	bosh.up                            heartbeats of all nodes, and questions after some
//	bosh.stats                         asks all nodes for their counts
//
// Names are checked; sids are in no subject, and in no log.
//
// # Permissions
//
// Whoever may publish to bosh.node.> is as trusted as a node: it says over which
// connection, and with which certificate, a client has come. Whoever may subscribe to
// bosh.> reads all that clients say, sids included. So give NATS users that are no nodes
// neither of them, or an account of their own. A node needs no more than this:
//
//	permissions: {
//	  publish:   ["bosh.node.*", "bosh.reply.>", "bosh.up", "bosh.stats"]
//	  subscribe: ["bosh.node.*", "bosh.reply.>", "bosh.up", "bosh.stats"]
//	}
//
// With names of your own, <name> may stand for the * and reply.<name>.> for reply.> where
// it subscribes. TLS and credentials are those of the connection: [nats.Secure],
// [nats.UserCredentials], [nats.NkeyOptionFromSeed] and so on.
package boshnats
