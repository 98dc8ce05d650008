// Package bosh turns BOSH sessions into network streams.
//
// BOSH (XEP-0124, and XEP-0206 for XMPP) emulates a TCP connection by HTTP
// long polling. It loses nothing over connections that break, and it works
// where WebSocket does not. A [Handler] is an [http.Handler] that speaks BOSH
// to clients; every stream that a client opens is handed to the application as
// a [Stream], which is a [net.Conn].
//
// # Streams
//
// [Handler.Listener] is a [net.Listener], so that a server which has an accept
// loop for TCP serves BOSH with the same loop. Or else [Options.Serve] is
// called in a goroutine of its own for each stream:
//
//	h := bosh.New(bosh.Options{})
//	http.Handle("/http-bind", h)
//	go serve(h.Listener()) // the loop that already serves TCP
//
// # Framings
//
// What the bytes of a stream are is the matter of its [Framing]: an XMPP
// stream as it is on TCP; [Elements], for services without XMPP, which put
// JSON into containers of XEP-0335; or any bytes, which are [Opaque].
//
// # Sessions
//
// A [Session] begins when [Options.Admit] lets it, and has one stream unless
// [Options.MaxStreams] allows for more. It outlives every connection and request
// of its client. It ends when either side wants it to, or when the client has
// been silent for longer than [Options.Inactivity].
//
// # Deadlines and errors
//
// A Write succeeds when its bytes are queued; whether they arrived nobody knows
// before the client's later requests prove it. What they did not prove by
// the end of the stream, [Stream.Undelivered] hands back. Read and Write fail
// as those of package net do, and at the end of the session by [io.EOF] or by
// an [*Error], which [errors.As] finds and whose [Condition] says why.
//
// # Backpressure
//
// Write blocks while [Options.WriteBuffer] is full: set a deadline where a slow
// client must not hold things up. While [Options.ReadBuffer] is full the client
// has to wait for its answers; one that goes on all the same is ended.
//
// # Security
//
// Serve HTTPS: whoever learns a session's sid and rid has the session. Nothing
// is authenticated but what Admit or the application asks for. Pages of all
// origins may connect unless [Options.AllowOrigin] says otherwise; those that it
// refuses get no session. An Admit that goes by cookies needs it, or must look
// itself where the request comes from, as by [http.CrossOriginProtection], since
// a browser may send them along with what other sites make it post.
//
// # Behind a proxy
//
// The proxy must not buffer, must wait for longer than [Options.Wait], and must
// send all requests of a session to the same process, which [Options.Node] lets it
// know, unless the processes have [Options.Relay]. Who is behind it, and
// whether by HTTPS, [Options.ClientAddr] and [Options.Secure] tell, from headers
// that count only in a request that the proxy has sent.
//
// # Many sessions
//
// net/http keeps some 25 KB for each request that is held, and serves the
// requests of a connection one after the other. [Options.Direct] has the Handler
// take HTTP/1.1 connections over, and serve them itself at less than half the
// cost; middleware then sees no more than the first request of each.
//
// # Middleware
//
// What works around a Handler, what does not, and what it says then, with Direct and
// without, is in examples/middleware/README.md: chi, echo, gin, otelhttp, promhttp,
// rs/cors, and net/http's own. Each of its rows is a test.
//
// # Porting a TCP server
//
// A server that knows TCP serves BOSH by a second call of its accept loop, with
// [Handler.Listener] (the example Porting). What it may know of TCP besides:
//
//   - It asserts *tls.Conn, or calls ConnectionState. A Stream is none, and has no
//     such method: many servers call it unseen, and a zero state is no answer. Ask
//     [Session.Secure] whether the client came over TLS, and [Session.TLS] for the
//     state, which is that of the first request, and nil behind a proxy. There is
//     nothing to bind a channel to: offer no SCRAM-…-PLUS.
//   - It offers STARTTLS until the connection is a *tls.Conn. Have it offer SASL at
//     once where Secure says so. An offer that it makes all the same is dropped from
//     its features, and a client that asks is refused, unless PassUpgrades is set. The
//     same goes for compression.
//   - It ends a connection on which it reads nothing for some time. A BOSH client
//     says nothing for as long as Wait, and its session ends by itself when it has
//     gone. Switch that off, or set [Options.WhitespaceKeepalive], and let the time be
//     longer than Wait. A read deadline itself works as on TCP. White space that the
//     server writes to the same end is left out.
//   - It limits or bans by RemoteAddr. Behind a proxy that is the proxy's, unless
//     [Options.ClientAddr] is set. Addresses need not be *net.TCPAddr, and
//     one address may have many sessions.
//   - It takes a Write that returns for one that arrived, as on TCP. What did not arrive
//     [Stream.Undelivered] hands back after the end: bounce or store it. A server
//     with stream management (XEP-0198) has that already, if the client speaks it:
//     let one of the two send again, not both.
//   - It accepts in a loop, and goes on after an error. Stop at [net.ErrClosed]: after
//     [net.Listener.Close], Shutdown or Close every Accept fails, and at once. Close of
//     the listener leaves accepted streams alone; see Shutdown for those.
//
// To ortuman/jackal, say, BOSH was eleven lines: a listener whose transport is BOSH
// serves a Handler over HTTP, its accept loop takes Handler.Listener, and its streams
// count as secure from the beginning, as those over TLS do, which holds if HTTPS does. It
// ends streams that say nothing for three minutes, hence WhitespaceKeepalive.
//
// # Shutdown
//
// Call [Handler.Shutdown] first, which tells all clients, and then the one of
// the [http.Server], which must serve until the last of them has come by. Before both,
// [Handler.Drain] refuses new sessions and waits until the others end by themselves.
package bosh

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/gobosh/bosh/internal/defaults"
	"github.com/gobosh/bosh/internal/framing"
	"github.com/gobosh/bosh/internal/logs"
	"github.com/gobosh/bosh/internal/pipeline"
	"github.com/gobosh/bosh/internal/relay"
	"github.com/gobosh/bosh/internal/session"
	"github.com/gobosh/bosh/internal/wire"
)

// Options configure a [Handler]. The zero value is good for an XMPP server.
// For every number and duration, zero means the default named with the field,
// a negative value means none (no limit, or the feature switched off) where
// that is possible, and a value too large for the protocol is lowered to the
// largest possible one. No duration is longer than 65,535 s, the most that the
// protocol has a number for.
//
// A panic of one of the functions is logged with its stack. One of Admit or Serve,
// or of what Receive calls, ends the stream with [InternalServerError]. One of
// ClientAddr, Secure or AllowOrigin closes the connection of the request, which the
// client may repeat; so does one of the Server's ConnContext with Direct. One of the
// Trace has no other consequence, nor has one of the Logger's handler, which is
// reported on standard error. Those of a request's own goroutine that close the
// connection are logged by the [http.Server].
type Options struct {
	// Serve is called in a goroutine of its own for each new stream. The
	// stream is closed when Serve returns, unless it has called
	// [Stream.Receive], and if Serve panics the stream ends with
	// [InternalServerError]. If Serve is nil the streams come out of
	// [Handler.Listener], and have to be accepted. Do one of the two: with Serve
	// Accept fails, and where nobody does either, that is logged.
	Serve func(*Stream)

	// Admit is asked before a stream is made, for a session's first stream
	// and for each further one. It may change the opening, for example its
	// Framing. The context it returns is the parent of the session's (of the
	// stream's, for a further one); nil stands for the one it was given,
	// which carries the values of the request's context but does not end with
	// the request. When it is done, by a deadline or a cancel, the session (the
	// stream) ends by [PolicyViolation], and its cause is logged: let it have
	// the expiry of the token that the client has shown, and do not return the
	// request's own, which ends with the request. To refuse, return an error:
	// an [*Error] tells the client its condition, any other error becomes
	// [InternalServerError]. It runs in the request's goroutine and may take
	// its time.
	//
	// If Admit is nil every stream is admitted. In any case one of XMPP that names
	// no host in `to`, and gets none from Admit, is refused with
	// [ImproperAddressing]; one of Elements or Opaque need not name any.
	Admit func(context.Context, *http.Request, *Opening) (context.Context, error)

	// Framing is what the streams carry, unless Admit says otherwise.
	// The default is XMPP.
	Framing Framing

	// PassUpgrades hands STARTTLS and stream compression on as they are, both
	// ways. By default a stream of XMPP knows neither: they are dropped from the
	// features that the application writes, and a client that asks for one of
	// them all the same is told <failure/>, and the application does not see it.
	// For there is nothing to upgrade: a server that agreed would take a stream
	// in the clear for a secure one. [Session.Secure] says what it is.
	PassUpgrades bool

	// WhitespaceKeepalive has each request without payloads read as a space, on
	// streams of XMPP that have nothing else to read: as what a client on TCP
	// sends to show that it is there. It is for a server that ends a stream when
	// it reads nothing for some time; that time has to be longer than Wait. Any
	// other server looks at [Session.LastRequest], if it must know at all: a
	// session without its client ends by itself. RFC 6120, section 4.6.1.
	WhitespaceKeepalive bool

	// Wait is the longest time that a request is held for want of anything
	// to say. A client may ask for less. The default is 60 s; negative makes
	// every session a polling session. Keep it below the read time-out of
	// any proxy in front. A request whose context has a deadline, as that of
	// [http.TimeoutHandler] and other middleware, is answered a little before
	// it at the latest. Whole seconds. XEP-0124, section 7.
	Wait time.Duration

	// Inactivity is the longest time that a client may be without an open
	// request before its session ends. The client is told this time, and has
	// two seconds more. The default is 75 s: browsers run the timers of a
	// hidden page once a minute, so with 60 s or less such a page can lose its
	// session. Negative sets no limit. Polling sessions get twice this and the
	// polling interval on top. Whole seconds. XEP-0124, section 10.
	Inactivity time.Duration

	// Polling is the shortest interval between two empty requests, announced
	// to the client and enforced. The default is 5 s for polling sessions
	// and none for all others, since a page that is reloaded and goes on with
	// its session looks overactive. A positive value is used for both, and a
	// negative one means none for either. None is neither enforced nor
	// announced. Whole seconds. XEP-0124, sections 11 and 12.
	Polling time.Duration

	// Pause is the longest pause that a client may ask for. A pause too may
	// last two seconds longer than was granted. The default is 120 s; negative
	// switches pausing off. Whole seconds. XEP-0124, section 10.
	Pause time.Duration

	// Hold is the highest number of requests of a session that are held at a
	// time. A client may ask for less. The default is 1, and there is rarely
	// a reason for more: real clients alternate two connections. Negative
	// makes every session a polling session. At most 16.
	Hold int

	// Grace is how long the answer to an older request waits for output when
	// a newer request has brought payloads, so that a reply made at once
	// rides on it instead of costing another round trip. The default is
	// 5 ms; negative gives no grace. At most 50 ms. A client that only sends
	// does not wait: when three bodies in a row had no reply in time, there is
	// no grace until one has.
	//
	// Most clients take answers as their connections deliver them, so Grace is
	// also how long output waits for two things. The replies to a request go
	// out together: output waits until the application has read all that came
	// and waits for input again. And no answer overtakes another: behind one
	// with payloads, output waits for the client's ack or for a request that
	// proves that it has that answer, unless it goes out on the same HTTP/1.1
	// connection and no proxy is in between.
	//
	// The answer that opens a stream which is not XMPP waits as long for the
	// stream's first output, but no longer once the application waits for
	// input on it.
	Grace time.Duration

	// CreateTimeout bounds how long the answer to a session creation waits
	// for the application's first output, the stream features, in XMPP. The
	// default is 10 s; negative answers at once. It never waits longer than
	// the granted wait.
	CreateTimeout time.Duration

	// ReadTimeout bounds how long the body of a request may stand still on its
	// way, and WriteTimeout how long an answer may. What is late is cut off,
	// and the client may try again. The defaults are 15 s and 30 s, whatever
	// those of the [http.Server] are, which know nothing of waiting; negative
	// sets no limit of ours, and leaves the Server's.
	//
	// Both are extended as long as bytes flow: what is slower than MinRate is
	// cut off when it is behind by the time-out. But nothing takes longer than
	// 15 minutes, or than its time-out if that is longer. A client whose body
	// is on its way is not inactive.
	ReadTimeout, WriteTimeout time.Duration

	// MinRate is how many bytes a second a body or an answer must flow for its
	// time-out to be extended. Of an answer, what the operating system has taken
	// has flowed. The default is 1024; negative extends nothing.
	MinRate int

	// MaxSessions is how many sessions there may be at a time. Further ones
	// are refused with [PolicyViolation]. The default is 100000; negative
	// sets no limit.
	MaxSessions int

	// MaxPerAddr is how many sessions there may be at a time from one
	// address, without its port, as ClientAddr has it. Further ones are
	// refused with [PolicyViolation]. The default, 0, sets no limit, since
	// many users may share an address; nor does a negative number. An IPv6
	// client has a whole network: addresses that have the first AddrPrefix
	// bits in common count as one. The default is 64; negative, or more than
	// 128, counts each by itself.
	MaxPerAddr, AddrPrefix int

	// MaxStreams is how many streams a session may have open at a time. The
	// default, 1, switches the protocol's multiple streams off, as does a
	// negative number. At most 64.
	// A further one is refused with [PolicyViolation]. With more than one, an
	// empty request that names a host in `to` opens a stream, as the XEP has
	// it; one client, libpurple, names it in all its requests. XEP-0124,
	// section 16.
	MaxStreams int

	// Backlog is how many streams wait for [net.Listener.Accept]. Sessions
	// beyond it are refused with [InternalServerError]. The default is 128;
	// negative sets no limit, so that only MaxSessions does.
	Backlog int

	// MaxBody is the largest request body in bytes, after decompression.
	// The default is 1 MiB. It cannot be switched off: negative stands for the
	// most, 256 MiB. The attributes of the wrapper may take 16 KiB of it. A
	// larger one is refused by [BadRequest], which ends its session. If its
	// Content-Length is too large already, nothing of it is read: the refusal
	// comes at once, the connection is closed, and the session goes on.
	MaxBody int64

	// MaxPayloads is how many elements a request may carry. A small element
	// costs many times its size while it is on its way. The default is 4096;
	// negative sets no limit.
	MaxPayloads int

	// MaxElement is the largest single element that the application may
	// write, in bytes. The default is 4 MiB. It cannot be switched off:
	// negative stands for the most, 1 GiB.
	MaxElement int

	// ReadBuffer is how many unread bytes of payload a stream has before
	// requests go unanswered, unless there is something to say, which stops a
	// client that respects `requests`. A client that goes on sending until the
	// application is behind by as many MaxBody as it may have requests on top
	// of that has its session ended by [PolicyViolation]: an application that
	// wants no input must read it all the same. The default is 64 KiB;
	// negative keeps none, so that requests go unanswered until all has been
	// read. At most 1 GiB.
	ReadBuffer int

	// WriteBuffer is how many bytes of payload wait for the client before
	// Write blocks. The default is 256 KiB; negative keeps next to nothing, 1
	// KiB. At most 1 GiB.
	WriteBuffer int

	// Throttle has the client wait for an application that is behind by more than
	// ReadBuffer, for as long as that takes: nothing is answered, whatever there is
	// to say, even if the client's wait is over. Only if WriteBuffer is full answers
	// go out, so that an application which writes before it reads on is not stuck.
	// By it an application that reads slowly on purpose slows a client down, and
	// does not end it. The default is off.
	Throttle bool

	// ReplayBuffer is how many bytes of answers that the client has not been
	// proven to have are kept beyond the last `requests`, for a client that
	// acknowledges. Buffers count whole, of which half may be empty. The
	// default is 256 KiB; negative keeps none. At most 1 GiB.
	ReplayBuffer int

	// MaxMemory is how many bytes all sessions together may keep: input that
	// waits for the application, or that WriteTo or Receive is giving it,
	// output that waits for the client, answers kept for repeats, early
	// requests, the headers and attributes of the first; and of a session that
	// is over the answers as long as it repeats them, and the input until the
	// application has read it or closed the stream. Buffers count whole. What
	// is broadcast counts once for all sessions, and for none of them.
	// While it is exceeded no session can be opened, and those that keep more
	// than their share of it end with [PolicyViolation] when they send
	// something new. The first KiB of each session is free, and so are empty
	// buffers that a session keeps for answers, of at most 64 KiB for each
	// request that is open, and one more; and up to 4 KiB of a stream's
	// output may be counted as late as at its next request or answer. Bodies
	// that are being received, and those that Admit is asked about, have what
	// the sessions leave: as they came, and decompressed. Their first 64 KiB
	// are free. One that finds no room is refused by [PolicyViolation], and
	// its connection is closed unless all of it has come. The default is 1
	// GiB; negative sets no limit.
	MaxMemory int64

	// MaxRepeats is how often a client may repeat one request before its
	// session ends with [PolicyViolation]. A repeat of what has not been
	// answered does not count if the connection before broke, or a second has
	// passed. The default is 10; negative sets no limit. XEP-0124, section
	// 14.3.
	MaxRepeats int

	// NoAcks keeps the server from acknowledging requests. XEP-0124,
	// section 9.1.
	NoAcks bool

	// ReportAfter is the age from which a response that an acknowledging
	// client does not acknowledge is reported to it. The default is 5 s;
	// negative reports nothing. XEP-0124, section 9.2.
	ReportAfter time.Duration

	// Content lists the media types that a client may ask for in `content`,
	// without parameters. The default is text/xml, application/xml,
	// text/plain and text/html. A client that asks for anything else, or for
	// a charset other than UTF-8, gets text/xml. Every answer carries headers
	// that keep a browser from executing it. XEP-0124, section 7.1.
	Content []string

	// Compress is the size in bytes from which answers are compressed for
	// clients that accept it, by gzip or else deflate. The default, 0,
	// compresses nothing, nor does a negative size. Requests may always be
	// compressed.
	Compress int

	// AllowOrigin reports whether pages of an origin, as "https://host:port",
	// may use the Handler (CORS). If it is nil every origin may, but without
	// credentials, such as cookies. Pages of other origins, this host's own
	// excepted, are refused a session by [PolicyViolation], and kept by the
	// browser from reading answers. To leave all that to a proxy or handler in
	// front, set NoCORS. A policy that a handler in front has set already, by a
	// header Access-Control-… or by Vary: Origin, is left as it is, and said
	// once in the log.
	AllowOrigin func(origin string) bool
	NoCORS      bool

	// AllowHeaders are the headers that a page may set besides Content-Type,
	// which is all that BOSH clients do by themselves: Authorization, say.
	//
	// AllowCredentials lets pages of the origins that AllowOrigin allows send
	// cookies along, and certificates. Without AllowOrigin it has no effect.
	// The defaults are none, and no.
	AllowHeaders     []string
	AllowCredentials bool

	// ClientAddr returns the address of the client of a request that came
	// through a proxy. Believe a header only if [http.Request.RemoteAddr] is
	// the proxy's. If it is nil, or returns nil, the address is that of the
	// connection.
	ClientAddr func(*http.Request) net.Addr

	// Secure reports whether a request reached the first trusted proxy over
	// TLS. If it is nil, requests that came over TLS to this process are
	// secure. A session begun by a secure request takes no others.
	// XEP-0124, section 19.1.
	Secure func(*http.Request) bool

	// SeeOther, if set, is told to clients at Shutdown as the place to go
	// on, by the condition see-other-uri instead of system-shutdown.
	SeeOther string

	// Direct has the Handler take HTTP/1.1 connections over from an
	// [http.Server] at their first BOSH request, and serve that and those
	// behind it by an engine of its own. A session that waits then costs less
	// than half the memory, and a request about half the processor time; and
	// requests are taken in while earlier ones of their connection are held,
	// so that clients that pipeline need no [PipelineListener]. The default
	// is off.
	// Switch it on for thousands of sessions over HTTP/1.1, as from a proxy,
	// or for clients that pipeline, unless something around the Handler must
	// see every request.
	//
	// The engine serves POST with a Content-Length, to the Host and URI of the
	// connection's first BOSH request. At anything else it gives the
	// connection back to the Server, with all that it has read, until the
	// next BOSH request: pages, other handlers and BOSH may share it. HTTP/2,
	// and a ResponseWriter that cannot be hijacked, are served as without
	// Direct. TLS makes no difference.
	//
	// What lies between the Server and the Handler is passed by:
	//
	//   - Middleware sees only the first request of a connection, and
	//     ServeHTTP returns before that is answered. Do not set Direct if it
	//     authenticates or limits requests, or rewrites them, as their
	//     RemoteAddr: those of a proxy's connection are of many clients. Use
	//     Admit, ClientAddr and Secure, which get requests as they came. The
	//     headers that it has set before it calls the Handler are on the first
	//     answer only; if one of them is for CORS, the connection is not taken
	//     over. Those that describe a body, as Content-Encoding, are on none:
	//     middleware compresses nothing here; see Compress. For access logs use
	//     Trace.
	//   - Of the Server's time-outs only IdleTimeout counts. ReadTimeout
	//     bounds a request from its first byte, with its head, and WriteTimeout
	//     an answer, both with MinRate; if negative, nothing does.
	//   - [http.Server.Shutdown] closes these connections when they have been
	//     answered, but waits neither for them nor for those given back.
	//     [Handler.Shutdown] waits for its answers. [http.Server.Close] does
	//     not know of them: call [Handler.Close] too. After
	//     SetKeepAlivesEnabled(false) a connection ends with its next answer,
	//     and an idle one within a second if there is traffic on others.
	//   - The context of a later request has the values of the Server's
	//     BaseContext and ConnContext, which are called anew, but none of
	//     middleware; and no context ends when the client leaves. If
	//     BaseContext panics then, no connection is taken over. A request
	//     whose context has a deadline is not taken over, nor one whose
	//     answer has a Connection header already.
	//   - The Server's ConnState sees StateHijacked, and then StateNew if the
	//     connection is given back.
	//   - A callback of these Options must not close the connection that
	//     ConnContext has shown to it: Close would wait for the callback. If
	//     anybody else does, that is noticed when there is an answer to write.
	Direct bool

	// Proof says what proves, besides acks and the rids of requests, that a client has
	// an answer: for [Stream.Proven], and for what is [Payload].Sent. The default is
	// [ByProtocol], which any other number stands for, too.
	Proof Proof

	// Undelivered is called once for each stream that the application has got, when the
	// stream has ended, and the application has closed it, so that nothing more can be
	// written: with what [Stream.Undelivered] yields, which may be nothing, and with
	// why it ended, as [Session.Err] says it. It is for servers that know no more of a
	// stream than that it is a [net.Conn], which st is. It is called in a goroutine of
	// its own, and may take its time; [Handler.Shutdown] waits for it.
	Undelivered func(st *Stream, lost []Payload, why error)

	// Node is the name of this process among several that serve one endpoint: up
	// to 32 of a-z, 0-9 and -. Its sids end in a dot and the name, by which a load
	// balancer, or Relay, finds the process. Clients see it. No two processes may
	// have the same name at a time, so one made at random is best. The default is
	// none. See [CheckNode].
	Node string

	// Relay has a node serve a request of one of its sessions that came in here:
	// clients may send each request to any node. It passes message, which is
	// good until it returns, to the [Handler.ServeRelay] of the Handler with that
	// Node, and calls answer, which may be nil, once with what that is given. It
	// must not block; answer may be called by any goroutine, also before Relay
	// returns. Messages to a node must arrive in the order of the calls.
	//
	// An answer of [ErrNoNode] has the client told item-not-found. Any other error,
	// as after a time-out, closes its connection, and the client repeats the
	// request. When the client leaves before the answer has come, that is a
	// message as well. What never gets an answer takes room until then.
	//
	// All nodes need the same Options but for Node. Sessions are not passed on when
	// they begin: Admit, ClientAddr and the limits on sessions, memory and
	// bodies are each node's own. For a further stream Admit gets the request as
	// it came in elsewhere, of whose TLS only the client's certificate, and without
	// the values of its context. A body that is on its way to another node counts
	// for [Options.Inactivity] when it is whole. New panics if Node is not set. The
	// default is none. Package boshnats has a Relay.
	Relay func(node string, message []byte, answer func(message []byte, err error))

	// Logger gets what an operator should know; never payloads, nor a sid.
	// The default is [slog.Default]. Sessions are logged at level Debug when
	// they begin and end, with the keys session (its ID), remote, and at the
	// end reason (as in [HandlerStats].Ended), requests, label (of SetLabel) and error. The end
	// by [InternalServerError] is a warning, and that by the context that Admit
	// has returned at level Info.
	//
	// A session that is refused is logged with the keys condition, remote,
	// origin (of the page, if it is one) and cause: trouble of Admit, as any
	// error that is no *Error, at level Warn; a limit on sessions at level
	// Info, every ten seconds at most, with the key unlogged for how many were
	// left out; and all else at level Debug. What clients say is cut at 256
	// bytes.
	Logger *slog.Logger

	// Trace has functions that are called at the events of a session.
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

// withDefaults returns a copy of o in which zero fields have their defaults,
// negative ones mean what they say, and large ones are lowered.
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
	// XMPP makes the stream what an XMPP server sees on TCP. Read yields a
	// stream header, then the stanzas; a header again at each restart; and
	// the end tag when the client ends. Write takes the server's header,
	// features, stanzas and end tag, in chunks of any size. A client's restart
	// counts only if the server has called for it since its last header, by the
	// <success/> of SASL, or the <proceed/> or <compressed/> of an upgrade: see
	// [Options.PassUpgrades]. XEP-0206.
	XMPP Framing = iota

	// Elements makes the stream a sequence of XML elements, each complete in
	// itself with all the namespaces it uses.
	Elements

	// Opaque makes the stream carry any bytes. On the wire, both ways, they
	// are in elements <data xmlns='urn:bosh:opaque:0'>SGVsbG8=</data>, as
	// base64 with padding (RFC 4648, section 4). White space in one of them is
	// ignored, anything else but text is an error, and it may be empty. A body
	// has any number of them, the first and the last body too. The stream is
	// what they hold, in the order of their bodies' rids; where one ends means
	// nothing, since a Write may be cut and several may be joined. Any other
	// element from the client ends the session by [BadRequest].
	Opaque
)

// A Proof says what proves that a client has an answer: see [Options.Proof].
type Proof uint8

const (
	// ByProtocol believes nothing but what the protocol says: the client's ack, and
	// requests that it could not have sent without the answer, as it may not have more
	// of them open than `requests`. It is true whatever there is between the client and
	// this process. XEP-0124, sections 9.2 and 14.
	ByProtocol Proof = iota

	// ByConnection believes besides that a client has read an answer if it sends a new
	// request on the HTTP/1.1 connection that the answer went out on: one request
	// sooner than the protocol tells. It is for connections that are the clients' own:
	// a proxy in between, which reads answers for others, and a client that pipelines
	// make it false. A request with a header of a proxy, as X-Forwarded-For or Via, is
	// not believed; nor is anything over HTTP/2.
	ByConnection

	// ByKernel believes besides, on Linux and with [Options.Direct], that a client has
	// an answer when its operating system has acknowledged the last byte of it, which
	// is looked at 5 ms after it was written, and then ever less often. That is weaker:
	// the client itself may be gone, and never have read the answer. It is for services
	// whose own end is the danger, and not their clients'. Elsewhere it is
	// [ByConnection].
	ByKernel
)

// OpaqueNS is the namespace of the elements that carry [Opaque] streams.
const OpaqueNS = "urn:bosh:opaque:0"

// framings has what each Framing is. It is the only place that knows their numbers.
var framings = [...]framing.Framing{
	XMPP:     framing.XMPPStream{},
	Elements: framing.ElementStream{},
	Opaque:   framing.OpaqueStream{},
}

func (f Framing) String() string {
	if known := f.bytes(); known != nil {
		return known.String()
	}
	return fmt.Sprintf("Framing(%d)", uint8(f))
}

// bytes returns what the bytes of a stream with the Framing are, or nil if there is no
// such Framing.
func (f Framing) bytes() framing.Framing {
	if int(f) < len(framings) {
		return framings[f]
	}
	return nil
}

// framingOf returns the Framing of a stream whose bytes are f.
func framingOf(f framing.Framing) Framing {
	return Framing(slices.Index(framings[:], f))
}

// SessionStats are counts of one session.
type SessionStats struct {
	Requests    int64 // received, repeats included
	Repeats     int64
	PayloadsIn  int64 // elements
	PayloadsOut int64 // elements; writes for Opaque
	BytesIn     int64 // of request bodies
	BytesOut    int64 // of response bodies
	Open        int   // requests that are held, early, or being answered
	Queued      int   // bytes that wait for the client
	Unread      int   // bytes that wait for the application, or that WriteTo or Receive is giving it
}

// HandlerStats are counts of all sessions of a Handler, those that have ended
// included. All but Open, Queued, Unread, Sessions, Memory and the limits only grow, so
// that they can be read as the counters of a monitoring system.
type HandlerStats struct {
	SessionStats
	Sessions int64            // that live now: Created, less all of Ended
	Memory   int64            // bytes that they and bodies on their way keep, as MaxMemory counts
	Created  int64            // since the Handler was made; one that Admit refuses is none
	Ended    map[string]int64 // by condition; "closed" in good order, "inactive" by the client's silence or absence
	Refused  map[string]int64 // at their creation, by condition

	MaxSessions, MaxMemory int64 // the limits of Options; 0 if there is none

	// Relayed are counts by the names of other nodes, if there are any: see
	// [Options.Relay]. Failed requests to names that never answered, which
	// clients make up, are under the empty one.
	Relayed map[string]RelayStats
}

// RelayStats are counts of the requests that were passed on between this node and
// another one. They only grow.
type RelayStats = relay.Counts

// ErrNoNode is the answer of an [Options.Relay] if there is no node of that name.
var ErrNoNode = relay.ErrNoNode

// CheckNode returns what is wrong with a name for [Options.Node], or nil.
func CheckNode(name string) error {
	if err := relay.CheckName(name); err != nil {
		return fmt.Errorf("bosh: %w", err)
	}
	return nil
}

// reason returns what the end by e is counted as.
func (e *Error) reason() string {
	switch {
	case e.Condition != "":
		return string(e.Condition)
	case e.Err == session.ErrInactive, e.Err == session.ErrUncreated:
		return "inactive"
	}
	return "closed"
}

// A Trace has functions that are called at the events of sessions, for metrics
// and the like. Any may be nil. They are called in the goroutine that brought
// the event about, with no lock held, and should return soon.
type Trace struct {
	// SessionStart and SessionEnd are called once for each session.
	SessionStart, SessionEnd func(*Session)

	// Refused is called when a session is refused at its creation, for
	// whatever reason, which is in the Error's Err; also for a body that tells
	// of no session since it could not be read.
	Refused func(*http.Request, *Error)

	// Request is called when a request has been received, and Response when
	// its answer has been written. What comes after the end of its session is
	// not told.
	Request  func(*Session, RequestInfo)
	Response func(*Session, ResponseInfo)
}

// RequestInfo describes a request of a session, the first excepted.
type RequestInfo struct {
	Rid      int64
	Bytes    int // of its body
	Payloads int
	Repeat   bool // it was received before
	Early    bool // a lower rid is missing
}

// ResponseInfo describes the answer to a request.
type ResponseInfo struct {
	Rid   int64
	Bytes int           // of its body
	Open  time.Duration // from the request's arrival to the end of writing
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
// The application passes one to [Stream.CloseWithError], [Session.Terminate]
// or back from [Options.Admit] to tell the client a condition; and Read, Write
// and [Session.Err] return one that says why the session ended.
type Error struct {
	// Condition is what the client is told, or was told. Empty is a graceful
	// end.
	Condition Condition

	// Remote says that the client ended the session, by its request or by
	// its absence.
	Remote bool

	// URI is where the client should go instead, for SeeOtherURI.
	URI string

	// Payload is XML that goes into the last body after all payloads still
	// queued: the stream error of RemoteStreamError, or what the application
	// adds to UndefinedCondition. It must be whole, well-formed elements.
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

// checkError returns a copy of e that is fit to be sent, or nil for nil.
func checkError(e *Error) (*Error, error) {
	if e == nil {
		return nil, nil
	}
	if e.Condition != "" && !wire.Defined(string(e.Condition)) {
		return nil, fmt.Errorf("bosh: no such condition: %q", e.Condition)
	}
	c := *e
	c.Remote = false
	var err error
	if c.Payload, err = framing.Last(e.Payload); err != nil {
		return nil, fmt.Errorf("bosh: payload of an Error: %w", err)
	}
	return &c, nil
}

// PipelineListener returns a listener for an [http.Server] whose clients
// pipeline: some BOSH clients send the next request on the connection on which
// the last one is held. net/http reads the second request only after the first
// was answered, so what the client has to say would wait until the poll before
// it times out. A connection of a PipelineListener notices what comes behind a
// held request, and has that one answered at once.
//
// For HTTPS give it to [http.Server.ServeTLS], or to [tls.NewListener]: it goes
// below TLS. There it sees records come, not what is in them. A request in the
// same record as the one before is not noticed, and a record that is none of a
// request, as at the end of a connection, releases a held one in vain.
//
// With [Options.Direct] it is not needed: the Handler reads what comes behind a
// held request by itself, under TLS too.
//
// It needs no more than this. The Handler finds the connection by its LocalAddr,
// which is the one of l's connection in a wrapper; NetConn returns that
// connection. HTTP/2 needs none of it and passes through.
func PipelineListener(l net.Listener) net.Listener { return pipeline.Listener{Listener: l} }
