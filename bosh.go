// Package bosh turns BOSH sessions into network streams.
//
// BOSH (XEP-0124, and XEP-0206 for XMPP) emulates a TCP connection by HTTP long polling.
// It loses nothing when connections break, and it works where WebSocket does not.
// A [Handler] is an [http.Handler]. It speaks BOSH to clients, and hands each stream of
// a client to the application as a [Stream]: a [net.Conn].
//
// # Streams
//
// [Handler.Listener] is a [net.Listener]: a server with an accept loop for TCP serves BOSH
// with the same loop. As an alternative, [Options.Serve] is called for each stream, in
// a goroutine of its own.
//
//	h := bosh.New(bosh.Options{})
//	http.Handle("/http-bind", h)
//	go serve(h.Listener()) // the loop that already serves TCP
//
// # Framings
//
// The [Framing] says what a stream's bytes are. [XMPP] is an XMPP stream as on TCP.
// [Elements] is for services without XMPP, with JSON in containers of XEP-0335.
// [Opaque] carries any bytes.
//
// # Sessions
//
// [Options.Admit] lets a [Session] begin. It has one stream unless [Options.MaxStreams] allows
// more. It outlives every connection and request of its client. It ends when either side
// ends it, or when the client is silent for longer than [Options.Inactivity].
//
// # Deadlines and errors
//
// A Write succeeds when its bytes are queued. Only later requests of the client prove their
// arrival. [Stream.Undelivered] hands the unproven bytes back after the stream's end. Read
// and Write fail as in package net. At the end of the session they return [io.EOF] or
// an [*Error]: [errors.As] finds it, and its [Condition] is the reason.
//
// # Backpressure
//
// Write blocks while [Options.WriteBuffer] is full: set a deadline where a slow client must
// not hold things up. While [Options.ReadBuffer] is full, the client waits for its answers.
// A client that sends all the same is ended.
//
// # Security
//
// Serve HTTPS: the sid and the rid of a session are all it takes to steal it. Only Admit and
// the application authenticate. Pages of all origins may connect, unless
// [Options.AllowOrigin] refuses them a session. An Admit that goes by cookies needs
// AllowOrigin, or its own check of the origin, as by [http.CrossOriginProtection]: browsers
// may send cookies along when other sites make them post.
//
// # Behind a proxy
//
// The proxy must not buffer, must wait for longer than [Options.Wait], and must send all
// requests of a session to the same process. [Options.Node] tells it the process, and
// [Options.Relay] makes that unnecessary. [Options.ClientAddr] and [Options.Secure] read the
// client's address and security from headers. Believe those only in requests of the proxy.
//
// # Many sessions
//
// net/http keeps some 25 KB for each held request, and serves the requests of a connection
// one after the other. With [Options.Direct] the Handler takes HTTP/1.1 connections over,
// and serves them at less than half the cost. Middleware then sees only the first request
// of each connection.
//
// # Middleware
//
// examples/middleware/README.md says for chi, echo, gin, otelhttp, promhttp, rs/cors and
// net/http's own middleware whether it works around a Handler, with Direct and without.
// Each row is a test.
//
// # Porting a TCP server
//
// A TCP server serves BOSH by a second call of its accept loop, with [Handler.Listener]: see
// the example Porting. These habits from TCP need care:
//
//   - It asserts *tls.Conn, or calls ConnectionState. A Stream has neither: a zero state
//     would mislead. [Session.Secure] says whether the client came over TLS. [Session.TLS]
//     is the state of the first request, nil behind a proxy. There is no channel to
//     bind to: offer no SCRAM-…-PLUS.
//   - It offers STARTTLS until the connection is a *tls.Conn. Have it offer SASL at once if
//     Secure says so. Without PassUpgrades its offers of STARTTLS and compression are dropped
//     from the features, and a client that asks is refused.
//   - It ends a connection after some time without input. A BOSH client is silent for up to
//     Wait, and its session ends by itself. Switch that off, or set
//     [Options.WhitespaceKeepalive] and a time longer than Wait. Read deadlines work as on
//     TCP. White space from the server for the same end is left out.
//   - It limits or bans by RemoteAddr. Behind a proxy that is the proxy's address, unless
//     [Options.ClientAddr] is set. Addresses need not be *net.TCPAddr, and one address may
//     have many sessions.
//   - It takes a Write that returns for one that arrived. [Stream.Undelivered] hands the rest
//     back after the end: bounce or store it. Stream management (XEP-0198) does the same
//     for clients with it. Let one of the two send again, not both.
//   - It accepts in a loop, and goes on after an error. Stop at [net.ErrClosed]: after
//     [net.Listener.Close], Shutdown or Close every Accept fails at once. Close of the listener
//     leaves accepted streams alone. Shutdown ends them.
//
// # Shutdown
//
// Call [Handler.Shutdown] first: it tells all clients. Then call Shutdown of the
// [http.Server], which must serve until the last client has come by.
// Before both, [Handler.Drain] refuses new sessions and waits until the others end.
//
// # Moving sessions
//
// A service with state that is data can restart, process by process, and no session ends.
// Have the application stop at an element, by the context of [Stream.ReadElement] or by
// [Stream.Detach]. Hand the data of [Session.Export] to [Handler.Import] in the new process.
// The old process passes later requests on by [Options.Relay], to its own name: the new
// process must have adopted it. Without Relay it closes their connections, and clients
// repeat them: tell the balancer. Streams go on where they were, without a header.
package bosh

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/gobosh/bosh/internal/defaults"
	"github.com/gobosh/bosh/internal/framing"
	"github.com/gobosh/bosh/internal/logs"
	"github.com/gobosh/bosh/internal/pipeline"
	"github.com/gobosh/bosh/internal/registry"
	"github.com/gobosh/bosh/internal/session"
)

// Options configure a [Handler]. The zero value is good for an XMPP server. For every number
// and duration, zero means the default named with the field. A negative value means none:
// no limit, or the feature off, where that is possible. A value too large for the protocol
// is lowered to the largest possible one: 65,535 s for durations.
//
// A panic of one of the functions is logged with its stack. A panic of Admit, of Serve, or
// under Receive ends the stream with [InternalServerError]. A panic of ClientAddr, Secure,
// AllowOrigin, or the Server's ConnContext with Direct closes the connection of the request;
// the client may repeat it. A panic of the Trace has no other consequence. A panic of the
// Logger's handler goes to standard error. If the panic closes the connection of a request
// in its own goroutine, the [http.Server] logs it.
type Options struct {
	// Serve is called in a goroutine of its own for each new stream. When it returns, the
	// stream is closed, unless it has called [Stream.Receive]. If it panics, the stream ends
	// with [InternalServerError]. Without Serve, accept the streams from [Handler.Listener].
	// Do one of the two: with Serve every Accept fails, and if nobody takes the streams, that
	// is logged.
	Serve func(*Stream)

	// Admit is asked before a session's first stream, and before each further one. It may
	// change the opening, for example its Framing. The context of its answer is the parent
	// of the session's context, or of a further stream's. Nil stands for the given context:
	// that one carries the values of the request's context, and does not end with the
	// request. When the parent is done, the session (the stream) ends by [PolicyViolation],
	// and the cause is logged. Let it have the expiry of the client's token. Do not
	// return the request's own context: it ends with the request.
	//
	// To refuse, return an error. An [*Error] tells the client its condition, any other error
	// is [InternalServerError]. Admit runs in the request's goroutine and may block.
	//
	// If Admit is nil, every stream is admitted. In any case an XMPP stream needs a host in
	// `to`, from the client or from Admit, and is refused with [ImproperAddressing] without
	// one. Elements and Opaque need no host.
	Admit func(context.Context, *http.Request, *Opening) (context.Context, error)

	// Framing is the framing of all streams, unless Admit changes it. The default is XMPP.
	Framing Framing

	// PassUpgrades hands STARTTLS and stream compression on as they are, both ways. By default
	// they are dropped from the application's stream features. A client that asks for one
	// all the same is told <failure/>, and the application does not see it. There is nothing
	// to upgrade: a server that agreed would take a stream in the clear for a secure one.
	// Ask [Session.Secure] instead.
	PassUpgrades bool

	// WhitespaceKeepalive turns each request without payloads into a space to read, on XMPP
	// streams without other input. A client on TCP sends a space to show its presence. It is
	// for a server that ends a stream after some time without input; that time must be
	// longer than Wait. Other servers look at [Session.LastRequest]: a session
	// without its client ends by itself. RFC 6120, section 4.6.1.
	WhitespaceKeepalive bool

	// Wait is the longest time for which a request without an answer is held. A client may
	// ask for less. The default is 60 s; negative makes every session a polling session. Keep
	// it below the read time-out of any proxy in front. If the request's context has a
	// deadline, as of [http.TimeoutHandler], the answer comes a little before that. Whole
	// seconds. XEP-0124, section 7.
	Wait time.Duration

	// Inactivity is the longest time without an open request. Then the session ends. The
	// client is told this time, and has two seconds more. The default is 75 s: browsers run
	// the timers of a hidden page once a minute, and such a page could lose its session with
	// 60 s or less. Negative sets no limit. Polling sessions get twice this, and the polling
	// interval on top. Whole seconds. XEP-0124, section 10.
	Inactivity time.Duration

	// Polling is the shortest interval between two empty requests, announced to the client
	// and enforced. The default is 5 s for polling sessions and none for others: a reloaded
	// page with an old session looks overactive. A positive value is used for both. Negative
	// means none for either: no announcement, no enforcement. Whole seconds. XEP-0124,
	// sections 11 and 12.
	Polling time.Duration

	// Pause is the longest pause that a client may ask for. A pause, too, may last two seconds
	// longer than granted. The default is 120 s; negative switches pausing off. Whole
	// seconds. XEP-0124, section 10.
	Pause time.Duration

	// Hold is the highest number of held requests of a session. A client may ask for less.
	// The default is 1. There is rarely a reason for more: real clients alternate two
	// connections. Negative makes every session a polling session. At most 16.
	Hold int

	// Grace is how long the answer to an older request waits for output after a newer request
	// has brought payloads. A reply made at once then rides on that answer, and needs no
	// further round trip. The default is 5 ms; negative gives no grace. At most 50 ms. After
	// three bodies in a row without a timely reply there is no grace until one has a reply:
	// a client that only sends does not wait.
	//
	// Most clients take answers in the order of their connections, so output also waits, for
	// up to Grace, in two cases. The replies to a request go out together: output waits until
	// the application has read all input and waits for more. No answer overtakes another:
	// after one with payloads, output waits for an ack, or a request that proves its arrival. It
	// does not wait on the connection of that answer (HTTP/1.1, no proxy). After an Import it
	// waits for up to 0.1 s, since the other process may still be writing.
	//
	// If a stream is not XMPP, its opening answer waits as long for the first output, but no
	// longer once the application waits for input.
	Grace time.Duration

	// CreateTimeout bounds how long the answer to a session creation waits for the
	// application's first output: the stream features, in XMPP. The default is 10 s; negative
	// answers at once. It never waits longer than the granted wait.
	CreateTimeout time.Duration

	// ReadTimeout bounds how long the body of a request may stand still on its way, and
	// WriteTimeout how long an answer may. Late ones are cut off, and the client may try
	// again. The defaults are 15 s and 30 s, whatever the [http.Server] has: its limits know
	// nothing of waiting. Negative leaves the Server's.
	//
	// Flowing bytes extend both. A body slower than MinRate is cut off when it is behind by
	// the time-out. Nothing takes longer than 15 minutes, or than its time-out if that is
	// longer. A client with a body on its way is not inactive.
	ReadTimeout, WriteTimeout time.Duration

	// MinRate is how many bytes a second must flow for a time-out to be extended. Bytes of an
	// answer have flowed when the operating system has taken them. The default is 1024;
	// negative extends nothing.
	MinRate int

	// MaxSessions is how many sessions there may be at a time. Further ones are refused with
	// [PolicyViolation]. The default is 100000; negative sets no limit.
	MaxSessions int

	// MaxPerAddr is how many sessions one address may have at a time, without its port, as
	// ClientAddr has it. Further ones are refused with [PolicyViolation]. The default, 0, sets
	// no limit, since many users may share an address; nor does a negative number.
	//
	// AddrPrefix is how many leading bits of an IPv6 address count, since an IPv6 client has
	// a whole network. The default is 64; negative, or more than 128, counts all.
	MaxPerAddr, AddrPrefix int

	// MaxStreams is how many streams a session may have open at a time. The default, 1,
	// switches the protocol's multiple streams off, as does a negative number. At most 64.
	// A further stream is refused with [PolicyViolation]. With more than one, an empty request
	// with a host in `to` opens a stream, as the XEP has it. One client, libpurple, names the
	// host in all its requests. XEP-0124, section 16.
	MaxStreams int

	// Backlog is how many streams wait for [net.Listener.Accept]. Sessions beyond it are
	// refused with [InternalServerError]. The default is 128; negative leaves the limit to
	// MaxSessions.
	Backlog int

	// MaxBody is the largest request body in bytes, after decompression. The default is 1 MiB.
	// Negative stands for the most, 256 MiB. The wrapper's attributes may take 16 KiB of it.
	// A larger body is refused by [BadRequest], and its session ends. If the Content-Length
	// is too large already, nothing is read: the refusal comes at once, the connection is
	// closed, and the session goes on.
	MaxBody int64

	// MaxPayloads is how many elements a request may carry. A small element costs many times
	// its size while it is on its way. The default is 4096; negative sets no limit.
	MaxPayloads int

	// MaxElement is the largest single element that the application may write, in bytes. The
	// default is 4 MiB. Negative stands for the most, 1 GiB.
	MaxElement int

	// ReadBuffer is how many bytes of unread payload a stream may have. Beyond it requests go
	// unanswered unless there is output, and a client that respects `requests` stops. If
	// a client goes on, its session ends by [PolicyViolation] when the application is further
	// behind by MaxBody for each request that the client may have open. An application without
	// interest in input must read it all the same. The default is 64 KiB. Negative keeps
	// none: requests go unanswered until all input has been read. At most 1 GiB.
	ReadBuffer int

	// WriteBuffer is how many bytes of payload wait for the client before Write blocks. The
	// default is 256 KiB; negative keeps next to nothing, 1 KiB. At most 1 GiB.
	WriteBuffer int

	// Throttle makes the client wait while the application is behind by more than ReadBuffer,
	// even beyond the client's wait, and even if there is output. Only a full WriteBuffer
	// sends answers: an application that writes before it reads on is not stuck. An
	// application that reads slowly on purpose then slows its client down instead of ending
	// it. The default is off.
	Throttle bool

	// ReplayBuffer is how many bytes of unproven answers are kept beyond the last `requests`,
	// for a client that acknowledges. Buffers count whole; half of one may be empty. The
	// default is 256 KiB; negative keeps none. At most 1 GiB.
	ReplayBuffer int

	// MaxMemory is how many bytes all sessions together may keep. Input counts until the
	// application is done with it, also when WriteTo or Receive has it. Output counts, as do
	// answers kept for repeats, early requests, and the headers and attributes of a session's
	// first request. After the end of a session its repeatable answers count, and its input
	// until the application has read it or closed the stream. Buffers count whole. Broadcast
	// bytes count once, for no session.
	//
	// The first KiB of each session is free. So are its empty answer buffers, of up to 64 KiB
	// for each open request and one more. Up to 4 KiB of a stream's output count only at its
	// next request or answer.
	//
	// Beyond the limit no session can be opened. A session with more than its share ends
	// with [PolicyViolation] when it sends something new. Bodies on their way, and those shown
	// to Admit, share the rest of the limit, raw and decompressed; their first 64 KiB are
	// free. A body without room is refused by [PolicyViolation], and its connection is closed
	// unless the whole body has come. The default is 1 GiB; negative sets no limit.
	MaxMemory int64

	// MaxRepeats is how often a client may repeat one request. Beyond it the session ends with
	// [PolicyViolation]. The repeat of an unanswered request does not count if the earlier
	// connection broke, or a second has passed. The default is 10; negative sets no limit.
	// XEP-0124, section 14.3.
	MaxRepeats int

	// NoAcks keeps the server from acknowledging requests. XEP-0124, section 9.1.
	NoAcks bool

	// ReportAfter is the age from which a missing ack is reported to a client that
	// acknowledges. The default is 5 s; negative reports nothing. XEP-0124, section 9.2.
	ReportAfter time.Duration

	// Content lists the media types, without parameters, that a client may ask for in
	// `content`. The default is text/xml, application/xml, text/plain and text/html. All other
	// requests, and charsets other than UTF-8, get text/xml. Headers of every answer
	// keep browsers from executing it. XEP-0124, section 7.1.
	Content []string

	// Compress is the size in bytes from which answers are compressed for clients that accept
	// it, by gzip or else deflate. The default, 0, compresses nothing, nor does a negative
	// size. Requests may always be compressed.
	Compress int

	// AllowOrigin reports whether pages of an origin, as "https://host:port", may use the
	// Handler (CORS). If it is nil, every origin may, but without credentials, such as
	// cookies. Pages of this host always may. Pages of other origins are refused a session by
	// [PolicyViolation], and the browser keeps them from reading answers.
	//
	// NoCORS leaves all that to a proxy or handler in front. If a handler in front has set
	// a policy, by a header Access-Control-… or by Vary: Origin, it is left as it is, and
	// logged once.
	AllowOrigin func(origin string) bool
	NoCORS      bool

	// AllowHeaders are the headers that a page may set besides Content-Type, such as
	// Authorization. BOSH clients by themselves set no others.
	//
	// AllowCredentials lets pages of the allowed origins send cookies and certificates along.
	// Without AllowOrigin it has no effect. The defaults are none, and no.
	AllowHeaders     []string
	AllowCredentials bool

	// ClientAddr returns the address of the client of a request that came through a proxy.
	// Believe a header only if [http.Request.RemoteAddr] is the proxy's. If it is nil, or
	// returns nil, the address is that of the connection.
	ClientAddr func(*http.Request) net.Addr

	// Secure reports whether a request reached the first trusted proxy over TLS. If it is nil,
	// requests over TLS to this process are secure. A session begun by a secure request takes
	// no others. XEP-0124, section 19.1.
	Secure func(*http.Request) bool

	// SeeOther, if set, is told to clients at Shutdown as the place to go on, by the condition
	// see-other-uri instead of system-shutdown.
	SeeOther string

	// Direct takes HTTP/1.1 connections over from an [http.Server] at their first BOSH
	// request, and serves them by an engine of its own. A waiting session then costs less
	// than half the memory, and a request about half the processor time. Requests are taken
	// in while earlier ones of their connection are held: clients that pipeline need no
	// [PipelineListener]. The default is off. Use it for thousands of sessions over HTTP/1.1,
	// as from a proxy, or for clients that pipeline, unless something around the Handler
	// must see every request.
	//
	// The engine serves POST with a Content-Length, to the Host and URI of the connection's
	// first BOSH request. At anything else it gives the connection back to the Server, with
	// all bytes read, until the next BOSH request: pages, other handlers and BOSH may share
	// it. HTTP/2, and a ResponseWriter without Hijack, are served as without Direct. TLS makes
	// no difference.
	//
	// Everything between the Server and the Handler is bypassed:
	//
	//   - Middleware sees only the first request of a connection, and ServeHTTP returns before
	//     the answer. Do not set Direct if it authenticates, limits or rewrites requests: a
	//     proxy's connection carries many clients. Use Admit, ClientAddr and Secure: they get
	//     every request as it came. Headers set before the Handler are on the first answer
	//     only. With one of CORS among them the connection is not taken over. Headers of
	//     a body, as Content-Encoding, are dropped: see Compress. For access logs use Trace.
	//   - Of the Server's time-outs only IdleTimeout counts. ReadTimeout bounds a request from
	//     its first byte, with its head, and WriteTimeout an answer, both with MinRate; if
	//     negative, nothing does.
	//   - [http.Server.Shutdown] closes these connections once answered, but waits neither for
	//     them nor for those given back. [Handler.Shutdown] waits for its answers.
	//     [http.Server.Close] does not know of them: call [Handler.Close] too. After
	//     SetKeepAlivesEnabled(false) a connection ends with its next answer, and an idle one
	//     within a second if there is traffic on others.
	//   - The context of a later request has the values of the Server's BaseContext and
	//     ConnContext, called anew, but none of middleware. No context ends when the client
	//     leaves. If BaseContext panics then, no connection is taken over; nor is one whose
	//     request has a deadline, or whose answer has a Connection header already.
	//   - The Server's ConnState sees StateHijacked, and StateNew if the connection is given
	//     back.
	//   - A callback of these Options must not close the connection that ConnContext has seen:
	//     Close would wait for the callback. If others close it, that is noticed at the next
	//     answer.
	Direct bool

	// Proof says how a client proves that it has an answer, besides acks and the rids of
	// requests. It is for [Stream.Proven], and for [Payload].Sent. The default is
	// [ByProtocol], as for any unknown number.
	Proof Proof

	// Undelivered is called once for each accepted stream, after its end and the
	// application's Close, when nothing more can be written. It gets the stream, the yield of
	// [Stream.Undelivered] (perhaps nothing), and the reason of the end, as of [Session.Err].
	// Servers that know only the [net.Conn] compare it with st. It is called in a goroutine
	// of its own, and may block: [Handler.Shutdown] waits for it.
	Undelivered func(st *Stream, lost []Payload, why error)

	// Node is the name of this process among several that serve one endpoint: up to 32 of a-z,
	// 0-9 and -. Its sids end in a dot and the name. A load balancer, or Relay, finds
	// the process by that. Clients see it. No two processes may have the same name at a time:
	// a random one is best. The default is none. See [CheckNode].
	Node string

	// Relay makes another node serve a request that came in here for one of its sessions:
	// clients may send each request to any node. It passes message to [Handler.ServeRelay]
	// of the Handler with that Node, and calls answer once with the result, unless answer is
	// nil. message is good until it returns. It must not block. Any goroutine may call
	// answer, also before Relay returns. Messages to a node must arrive in the order of the
	// calls.
	//
	// After the answer [ErrNoNode] the client is told item-not-found. Any other error but
	// [ErrMoved], as after a time-out, closes the client's connection, and it repeats. That
	// error, or a client's departure before the answer, is a message as well. A message
	// without an answer keeps its memory.
	//
	// All nodes need the same Options but for Node. New sessions are not passed on: Admit,
	// ClientAddr and the limits on sessions, memory and bodies are each node's own. For
	// a further stream Admit gets the request as it came in elsewhere, without the values of
	// its context, and with no more of TLS than the client's certificate. A body on its way to
	// another node counts for [Options.Inactivity] when it is whole. New panics without Node.
	// The default is none. Package boshnats has a Relay.
	Relay func(node string, message []byte, answer func(message []byte, err error))

	// Logger gets messages for operators; never payloads, nor a sid. The default is
	// [slog.Default]. Sessions are logged at level Debug when they begin and end, with the keys
	// session (its ID), remote, and at the end reason (as in [HandlerStats].Ended), requests,
	// label (of SetLabel) and error. The end by [InternalServerError] is a warning. The end by
	// the context of Admit is at level Info.
	//
	// A refused session is logged with the keys condition, remote, origin (of a page) and
	// cause. Trouble of Admit, as any error besides *Error, is at level Warn. A limit on
	// sessions is at level Info, every ten seconds at most, and so is MaxMemory; the key
	// unlogged counts the rest. All else is at level Debug. Texts of clients are cut at 256 bytes.
	Logger *slog.Logger

	// Trace has functions for the events of a session.
	Trace *Trace
}

// The defaults.
const (
	defaultInactivity = session.DefaultInactivity
	maxHold           = 16
	maxStreams        = 64
	maxGrace          = 50 * time.Millisecond
	maxMaxBody        = 256 << 20
	maxMaxRepeats     = 1<<15 - 2
)

// withDefaults returns a copy of o with defaults for zero fields and none for negative
// ones. Large ones are lowered.
func (o Options) withDefaults() Options {
	o.Wait = defaults.Seconds(o.Wait, 60*time.Second)
	o.Inactivity = defaults.Seconds(o.Inactivity, defaultInactivity)
	o.Pause = defaults.Seconds(o.Pause, 120*time.Second)
	if o.Polling > 0 {
		o.Polling = defaults.Seconds(o.Polling, 0)
	}
	o.Hold = defaults.Number(o.Hold, 1, maxHold)
	o.Grace = min(defaults.Duration(o.Grace, 5*time.Millisecond), maxGrace)
	o.CreateTimeout = defaults.Duration(o.CreateTimeout, 10*time.Second)
	o.ReadTimeout = defaults.Duration(o.ReadTimeout, 15*time.Second)
	o.WriteTimeout = defaults.Duration(o.WriteTimeout, 30*time.Second)
	o.MinRate = defaults.Number(o.MinRate, 1<<10, 1<<30)
	o.MaxSessions = defaults.Number(o.MaxSessions, 100_000, 1<<31-1)
	o.MaxPerAddr = max(o.MaxPerAddr, 0)
	if o.AddrPrefix = min(cmp.Or(o.AddrPrefix, 64), 128); o.AddrPrefix < 0 {
		o.AddrPrefix = 128
	}
	o.MaxPayloads = defaults.Number(o.MaxPayloads, 4096, 1<<30)
	o.MaxStreams = max(defaults.Number(o.MaxStreams, 1, maxStreams), 1)
	o.Backlog = defaults.Limit(o.Backlog, 128)
	o.MaxBody = defaults.Bound(o.MaxBody, 1<<20, maxMaxBody)
	o.MaxElement = defaults.Bound(o.MaxElement, 4<<20, 1<<30)
	o.ReadBuffer = defaults.Number(o.ReadBuffer, 64<<10, 1<<30)
	o.WriteBuffer = cmp.Or(defaults.Number(o.WriteBuffer, 256<<10, 1<<30), 1<<10)
	o.ReplayBuffer = defaults.Number(o.ReplayBuffer, 256<<10, 1<<30)
	o.MaxMemory = cmp.Or(o.MaxMemory, 1<<30)
	o.MaxRepeats = min(cmp.Or(o.MaxRepeats, 10), maxMaxRepeats)
	if o.ReportAfter >= 0 {
		o.ReportAfter = defaults.Duration(o.ReportAfter, 5*time.Second)
	}
	if o.Content == nil {
		o.Content = []string{"text/xml", "application/xml", "text/plain", "text/html"}
	}
	if o.Proof > ByKernel {
		o.Proof = ByProtocol
	}
	o.Content, o.AllowHeaders = slices.Clone(o.Content), slices.Clone(o.AllowHeaders)
	o.Logger = logs.Safe(cmp.Or(o.Logger, slog.Default()))
	return o
}

// terms returns what sessions are offered.
func (o *Options) terms() session.Terms {
	return session.Terms{
		Wait: o.Wait, Inactivity: o.Inactivity, Pause: o.Pause, Polling: o.Polling, Hold: o.Hold,
		Acks: !o.NoAcks, Streams: o.MaxStreams > 1, Content: o.Content,
	}
}

// config returns what the machines of all sessions have in common.
func (o *Options) config() session.Config {
	return session.Config{
		Grace: o.Grace, CreateTimeout: o.CreateTimeout, ReportAfter: o.ReportAfter,
		MaxBody: o.MaxBody, MaxElement: o.MaxElement, ReadBuffer: o.ReadBuffer, WriteBuffer: o.WriteBuffer, ReplayBuffer: o.ReplayBuffer,
		MaxStreams: o.MaxStreams, MaxRepeats: o.MaxRepeats,
		WhitespaceKeepalive: o.WhitespaceKeepalive, PassUpgrades: o.PassUpgrades,
		Throttle: o.Throttle, ByConnection: o.Proof != ByProtocol, ByKernel: o.Proof == ByKernel,
	}
}

// A Framing says what the bytes of a [Stream] are.
type Framing uint8

const (
	// XMPP makes the stream look as to an XMPP server on TCP. Read yields a stream header, then
	// the stanzas; a header again at each restart; and the end tag when the client ends. Write
	// takes the server's header, features, stanzas and end tag, in chunks of any size. A
	// client's restart counts only if the server has called for it since its last header, by
	// the <success/> of SASL, or the <proceed/> or <compressed/> of an upgrade: see
	// [Options.PassUpgrades]. XEP-0206.
	XMPP Framing = iota

	// Elements makes the stream a sequence of XML elements. Each declares all the namespaces
	// it uses.
	Elements

	// Opaque makes the stream carry any bytes. On the wire, both ways, they are in elements
	// <data xmlns='urn:bosh:opaque:0'>SGVsbG8=</data>, as base64 with padding (RFC 4648,
	// section 4). White space inside is ignored, anything else but text is an error, and an
	// element may be empty. A body has any number of them, the first and the last body too.
	// The stream is their bytes, in the order of the rids. The ends of elements mean nothing: a
	// Write may be cut, and several may be joined. Any other element from the client ends the
	// session by [BadRequest].
	Opaque
)

// OpaqueNS is the namespace of the elements that carry [Opaque] streams.
const OpaqueNS = "urn:bosh:opaque:0"

func (f Framing) String() string {
	if known := f.bytes(); known != nil {
		return known.String()
	}
	return fmt.Sprintf("Framing(%d)", uint8(f))
}

// bytes returns the rules for the bytes of such a stream, or nil for an unknown Framing.
// Only it and framingOf know the numbers.
func (f Framing) bytes() framing.Framing {
	if int(f) < len(framing.All) {
		return framing.All[f]
	}
	return nil
}

// framingOf is the reverse of bytes.
func framingOf(f framing.Framing) Framing {
	return Framing(slices.Index(framing.All[:], f))
}

// HandlerStats are counts of all sessions of a Handler, ended ones included. All but Open,
// Queued, Unread, Sessions, Memory and the limits only grow, as the counters of a monitoring
// system do.
type HandlerStats struct {
	SessionStats
	Sessions int64            // live now: Created, less all of Ended
	Memory   int64            // bytes kept by sessions and by bodies on their way, as MaxMemory counts
	Created  int64            // since the Handler was made; one refused by Admit is none
	Ended    map[string]int64 // by condition; "closed" in good order, "inactive" by the client's silence or absence, "moved" by Export
	Refused  map[string]int64 // at their creation, by condition

	MaxSessions, MaxMemory int64 // the limits of Options; 0 if there is none

	// Relayed are counts by the names of other nodes, if there are any: see [Options.Relay].
	// Failed requests to names without an answer so far, made up by clients, are under the
	// empty one.
	Relayed map[string]RelayStats
}

// A Metric is one count of [HandlerStats.Metrics].
type Metric struct {
	Name    string      // as bosh_sessions: see examples/prometheus
	Help    string      // what it counts
	Counter bool        // it only grows; any other is a gauge
	Labels  [][2]string // names and values; the names are the same for all of one Name
	Value   float64
}

// Metrics yields the counts for a monitoring system, those of one Name one behind the
// other. Labelled counters are there from the start, for each condition.
func (n HandlerStats) Metrics() iter.Seq[Metric] {
	return func(yield func(Metric) bool) {
		registry.Metrics(n)(func(m registry.Metric) bool { return yield(Metric(m)) })
	}
}

// A Trace has functions that are called at the events of sessions, for metrics and the like.
// Any may be nil. They are called in the goroutine of the event, with no lock held, and should
// return soon.
type Trace struct {
	// SessionStart and SessionEnd are called once for each session.
	SessionStart, SessionEnd func(*Session)

	// Refused is called when a session is refused at its creation, for any reason: see the
	// Error's Err. It is also called for an unreadable body without a session.
	Refused func(*http.Request, *Error)

	// Request is called when a request has been received, and Response when its answer has
	// been written, or waits behind another one of its connection. Neither is called for a
	// request that finds no session. Those of the last requests may come after SessionEnd.
	Request  func(*Session, RequestInfo)
	Response func(*Session, ResponseInfo)
}

// A Condition is the reason why a session or stream ended before its time.
// XEP-0124, section 17.2.
type Condition string

// The terminal conditions. The application may use any of them.
const (
	BadRequest             Condition = "bad-request"              // the client's body is no good
	HostGone               Condition = "host-gone"                // not served any more
	HostUnknown            Condition = "host-unknown"             // not served
	ImproperAddressing     Condition = "improper-addressing"      // no host is named
	InternalServerError    Condition = "internal-server-error"    // trouble on this side
	ItemNotFound           Condition = "item-not-found"           // no such session, rid, key or stream
	OtherRequest           Condition = "other-request"            // another request brought the end
	PolicyViolation        Condition = "policy-violation"         // refused, or more than allowed
	RemoteConnectionFailed Condition = "remote-connection-failed" // to what is behind the application
	RemoteStreamError      Condition = "remote-stream-error"      // Error.Payload says which
	SeeOtherURI            Condition = "see-other-uri"            // Error.URI is where to go
	SystemShutdown         Condition = "system-shutdown"          // of all sessions
	UndefinedCondition     Condition = "undefined-condition"      // Error.Payload may say more
)

// An Error is the end of a session or stream.
//
// The application passes one to [Stream.CloseWithError] or [Session.Terminate], or returns it
// from [Options.Admit], to tell the client a condition. Read, Write and [Session.Err] return
// one as the reason of the session's end.
type Error struct {
	// Condition is what the client is told, or was told. Empty is a graceful end.
	Condition Condition

	// Remote says that the client ended the session, by its request or by its absence.
	Remote bool

	// URI is where the client should go instead, for SeeOtherURI.
	URI string

	// Payload is XML for the last body, after all queued payloads: the stream error of
	// RemoteStreamError, or the application's addition to UndefinedCondition. It must be
	// whole, well-formed elements.
	Payload []byte

	// Err is the cause, for the log. The client never sees it.
	Err error
}

func (e *Error) Error() string {
	msg := "bosh: session ended"
	if e.Condition != "" {
		msg = "bosh: " + string(e.Condition)
	}
	if e.Err != nil {
		msg += ": " + e.Err.Error()
	}
	return msg
}

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is an *Error of the same Condition, so that
//
//	errors.Is(err, &bosh.Error{Condition: bosh.PolicyViolation})
//
// works whatever the cause.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Condition == e.Condition
}

// PipelineListener returns a listener for an [http.Server] with clients that pipeline. They
// send the next request on the connection of a held one. net/http reads it only after the
// answer to the held one, so it would wait for a time-out. A connection of a
// PipelineListener notices bytes behind a held request, and has that one answered at once.
//
// For HTTPS give it to [http.Server.ServeTLS], or to [tls.NewListener]: it goes below TLS, and
// sees records without their content. A request in the same record as the one before is not
// noticed. A record without a request, as at the end of a connection, releases a held
// request in vain.
//
// With [Options.Direct] it is not needed: the Handler itself reads ahead of a held request,
// under TLS too.
//
// It needs no more setup. The Handler finds the connection by its LocalAddr: the one of l's
// connection in a wrapper. NetConn returns that connection. HTTP/2 passes through unchanged.
func PipelineListener(l net.Listener) net.Listener { return pipeline.Listener{Listener: l} }
