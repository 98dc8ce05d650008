// Package boshclient is a client for BOSH (XEP-0124, and XEP-0206 for XMPP): a
// [net.Conn] over HTTP requests.
//
// [Dial] opens a session with a server of any make and returns a [Conn]:
//
//	c, err := boshclient.Dial(ctx, "https://example.com/http-bind", &boshclient.Options{
//		To: "example.com",
//	})
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//
// # Framings
//
// The [Framing] gives the bytes of a Conn their meaning. With [XMPP], the default,
// they are an XMPP stream as on TCP, so a client library for TCP works unchanged. With
// [Elements] they are XML elements, one after the other; [Conn.ReadElement] and
// [Conn.WriteElement] read and write them whole. With [Opaque] they are any bytes. The
// server must know this framing, as [github.com/gobosh/bosh] does.
//
// # Delivery
//
// A session outlives its connections. If the connection of a request breaks, or
// its answer is incomplete or missing, the request is sent again byte for byte
// under the same rid, after a growing pause. The server gives its stored answer.
// Answers are taken in the order of their rids. So each side gets all bytes of
// the other exactly once and in order, for as long as the session lives. A
// creation cannot be repeated: Dial tries once.
//
// A Write succeeds when its bytes are queued. [Conn.Terminate] and [Conn.Close] tell
// whether the server has taken all of them.
//
// # Blocking and bounds
//
// These methods block, and nothing else does:
//
//   - Read and ReadElement, until there is input;
//   - Write, WriteElement and Restart, while [Options.WriteBuffer] is full;
//   - Pause, OpenStream and Terminate, until the server has answered;
//   - Close, as Terminate does, for at most [Options.CloseTimeout].
//
// Deadlines unblock with [os.ErrDeadlineExceeded], a context with its cause, Close
// and CloseNow with [net.ErrClosed], and the end of the session with its error.
//
// While the application does not read and [Options.ReadBuffer] is full, the Conn makes
// only requests that carry output or keep the session alive. When their answers have
// brought 256 KiB more, these requests pause the session (XEP-0124, section 10), and
// their answers then carry no payloads. A server without pauses gets no requests then,
// and ends the session after the time of inactivity.
//
// So a Conn keeps at most WriteBuffer and its open requests; and ReadBuffer, 256 KiB,
// and one answer of [Options.MaxBody] for each open request. There are as many open
// requests as the server grants, mostly 2, and never more than 17.
//
// # Errors
//
// Read and Write return [io.EOF] when either side has ended the session in good order.
// All other errors of a Conn are in a [*net.OpError], and errors.Is and errors.As
// find in it:
//
//   - a [Condition] and the [*Error] around it, if the server has ended the session;
//   - [ErrUnanswered] if a request was repeated in vain, and the last failure;
//   - a [*StatusError] for an HTTP status that a repeat does not mend;
//   - [net.ErrClosed], [os.ErrDeadlineExceeded], or the cause of a context.
//
// The package has its own Error and does not import package bosh: a client would
// carry the server along, and package bosh could not be tested by this one. The
// conditions have the same names in both.
//
// # Security
//
// The sid and rid of a session are enough to take it over: use https. They are never
// part of an error. A redirect from https to http is refused. [Options.Keys] protects
// a session over plain http from mere listeners.
package boshclient
