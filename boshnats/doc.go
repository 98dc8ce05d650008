// Package boshnats has any of several processes serve any request of a BOSH session, by
// way of NATS. Clients may reach them through a load balancer without any knowledge of
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
// A session stays in the process of its creation. Its sid names the process. Another
// process passes a request on to it as a NATS message, and so comes the answer back.
// Nothing is stored. A failure on the way closes the client's connection, and the client
// repeats its request, as BOSH has it. If the process is gone the client is told
// item-not-found, within a second.
//
// An unreachable process is not gone if others hear it. Then they pass its messages on,
// so a broken route between two NATS servers ends nothing. If none of them hears it,
// [Options.Addr] tells a dead process from one cut off. Clients are told of a dead one
// at once; the other has [Options.Patience] to come back.
//
// # Restarts
//
// A service whose state is data restarts without the end of a session: on SIGTERM it calls
// [Node.HandOver], and a node with [Options.Adopt] goes on with its sessions. Clients see a
// late answer. That node has the names of the sessions, too, for as long as one of them
// lives. So leave [Options.Name] empty: a process that comes again needs another one.
//
//	node.HandOver(ctx, export)
//	h.Shutdown(ctx)
//	node.Leave()
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
// The right to publish to bosh.node.> makes as trusted as a node: such messages give a
// client's connection and certificate. The right to subscribe to bosh.> reads all input
// of clients, sids included. So give other NATS users neither of them, or an account of
// their own. A node needs no more than this:
//
//	permissions: {
//	  publish:   ["bosh.node.*", "bosh.reply.>", "bosh.up", "bosh.stats"]
//	  subscribe: ["bosh.node.*", "bosh.reply.>", "bosh.up", "bosh.stats"]
//	}
//
// With names of your own, and without Adopt, <name> may stand for the * and reply.<name>.>
// for reply.> where it subscribes. TLS and credentials are those of the connection: [nats.Secure],
// [nats.UserCredentials], [nats.NkeyOptionFromSeed] and so on.
package boshnats
