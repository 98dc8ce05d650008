package boshclient

import (
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gobosh/bosh/internal/defaults"
)

// A Framing is the meaning of the bytes of a [Conn].
type Framing uint8

const (
	// XMPP makes the Conn look like a TCP connection of an XMPP client. Write takes
	// a stream header, then stanzas, and the end tag, in chunks of any size. Read
	// yields the server's header once the client has written its own, then features
	// and stanzas, and the end tag at the end. A further header from the client, as
	// after authentication, restarts the stream. XEP-0206.
	//
	// Two things differ. There is no StartTLS: encryption is a matter of the URL. And
	// the client's end tag ends the stream in both directions: await replies before
	// it.
	XMPP Framing = iota

	// Elements makes the Conn a sequence of XML elements, each complete in itself
	// with all the namespaces it uses.
	Elements

	// Opaque makes the Conn carry any bytes, as base64 in elements
	// <data xmlns='urn:bosh:opaque:0'/>. The server must know this framing.
	Opaque
)

// framings has the names of all.
var framings = [...]string{XMPP: "XMPP", Elements: "Elements", Opaque: "Opaque"}

func (f Framing) String() string {
	if f.known() {
		return framings[f]
	}
	return fmt.Sprintf("Framing(%d)", uint8(f))
}

func (f Framing) known() bool { return int(f) < len(framings) }

// Options configure a [Conn]. The zero value is good for XMPP, and so are no Options.
// For every number and duration, zero means the default named with the field, and a
// negative value means none where possible.
type Options struct {
	// Framing is the framing of the Conn. The default is XMPP.
	Framing Framing

	// To is the domain to talk to. The default is the host of the URL.
	To string

	// From is the client's own address, and nobody verifies it. Lang is the
	// language of its output. By default From is left out, and Lang is "en".
	From, Lang string

	// Version is the version of XMPP. The default is "1.0" with XMPP, and none with
	// the other framings. Set it with Elements to speak XMPP by whole elements:
	// elements without a namespace are then in jabber:client, and [Conn.Restart]
	// restarts the stream.
	Version string

	// Attr are further attributes of the creation request, such as a token for the
	// server's Admit. Attributes, if set, is called once for each request, the first
	// included, and returns further ones. Repeats of a request are identical, so it
	// is not asked again for them. A malformed attribute is an error, and so is one
	// of BOSH's own.
	Attr       []xml.Attr
	Attributes func(rid int64) []xml.Attr

	// HTTPClient carries the requests. Its Transport decides on proxies, TLS and
	// HTTP/2, and its Jar on cookies. Its Timeout is not used, since requests wait
	// on purpose. The default has the settings of [http.DefaultTransport], with room
	// for more connections.
	HTTPClient *http.Client

	// HTTPHeader is added to each HTTP request. Prepare, if set, is called for each
	// of them just before it is sent, repeats included, and may change its header,
	// as for a fresh access token. It may block until the request's context ends,
	// and must not use the Conn. Its error counts like a broken connection, and so
	// does status 401 if Prepare is set.
	HTTPHeader http.Header
	Prepare    func(*http.Request) error

	// Wait is how long the server may hold a request for want of anything to say.
	// The default is 60 s; negative asks for a polling session. Keep it below the
	// read time-out of proxies on the way. Whole seconds.
	Wait time.Duration

	// Hold is how many requests the server may hold at a time. The default is 1, and
	// there is rarely a reason for more; negative asks for a polling session.
	Hold int

	// NoAcks keeps the Conn from acknowledging answers. XEP-0124, section 9.2.
	NoAcks bool

	// Keys is the length of the key sequences, at least 2. They protect a session
	// without TLS. The default, 0, and a negative number mean no keys. XEP-0124,
	// section 15.
	Keys int

	// ReadBuffer is how many bytes of input wait for the application before the Conn
	// fetches no more than it must: see the package's documentation. The default is
	// 64 KiB; negative fetches only when all is read.
	ReadBuffer int

	// WriteBuffer is how many bytes of output wait to be sent before Write blocks.
	// The default is 256 KiB. It cannot be switched off.
	WriteBuffer int

	// MaxBody is the largest answer in bytes, after decompression. A larger one ends
	// the session. The default is 8 MiB. It cannot be switched off; at most 256 MiB.
	// Many small elements take up to some twenty times their size.
	MaxBody int

	// MaxElement is the largest element for Write, in bytes. The default is
	// 1,000,000; servers of this module take as much by default. It cannot be
	// switched off; at most 256 MiB.
	MaxElement int

	// Batch is the output of one request, in bytes. A larger element goes alone.
	// The default is 64 KiB, fit for all servers; at most 16 MiB.
	Batch int

	// AnswerTimeout is how long an answer may take beyond the granted wait. Then the
	// request is repeated over another connection. The default is 10 s. It cannot be
	// switched off.
	AnswerTimeout time.Duration

	// GiveUp is how long a request is repeated, from its first failure, before the
	// session ends by [ErrUnanswered]. The default is wait and inactivity, as
	// granted: by then the server has given it up too, unless it was away itself.
	// Negative repeats nothing.
	GiveUp time.Duration

	// Backoff is the longest pause before the second repeat of a request. The first
	// comes at once, and each further one after up to twice the pause before, and at
	// most 10 s. The default is 100 ms. It cannot be switched off.
	Backoff time.Duration

	// CloseTimeout bounds the wait of Close for the server to take the output.
	// The default is 5 s; negative does not wait at all, and Close is
	// CloseNow.
	CloseTimeout time.Duration
}

const (
	maxBackoff  = 10 * time.Second
	maxBody     = 256 << 20
	maxGrant    = 24 * time.Hour // of a time
	maxRid      = 1<<53 - 1      // XEP-0124, section 7.1
	maxRequests = 16             // open at a time, whatever the server grants
)

// config are Options with all defaults filled in.
type config struct {
	Options
	manual bool // no request by itself that is empty
}

// withDefaults fills in all defaults that do not depend on the URL.
func (o *Options) withDefaults() config {
	var c config
	if o != nil {
		c.Options = *o
	}
	if c.Framing == XMPP {
		c.Version = cmp.Or(c.Version, "1.0")
	}
	c.Lang = cmp.Or(c.Lang, "en")
	c.Wait = defaults.Seconds(c.Wait, 60*time.Second)
	c.Hold = defaults.Number(c.Hold, 1, maxRequests-1)
	c.ReadBuffer = defaults.Number(c.ReadBuffer, 64<<10, 1<<30)
	c.WriteBuffer = max(defaults.Number(c.WriteBuffer, 256<<10, 1<<30), 1)
	c.MaxBody = defaults.Bound(c.MaxBody, 8<<20, maxBody)
	c.MaxElement = defaults.Bound(c.MaxElement, 1_000_000, maxBody)
	c.Batch = max(defaults.Number(c.Batch, 64<<10, 16<<20), 1)
	c.AnswerTimeout = positive(c.AnswerTimeout, 10*time.Second)
	c.Backoff = min(positive(c.Backoff, 100*time.Millisecond), maxBackoff)
	c.CloseTimeout = defaults.Duration(c.CloseTimeout, 5*time.Second)
	c.HTTPHeader = c.HTTPHeader.Clone()
	if c.HTTPHeader == nil {
		c.HTTPHeader = make(http.Header)
	}
	if c.HTTPHeader.Get("Content-Type") == "" {
		c.HTTPHeader.Set("Content-Type", "text/xml; charset=utf-8")
	}
	return c
}

// positive returns d, or def if d is not positive.
func positive(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}

// defaultClient is for Options without an HTTPClient. All of them share it.
var defaultClient = sync.OnceValue(func() *http.Client {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return &http.Client{}
	}
	t = t.Clone()
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, 256
	return &http.Client{Transport: t}
})

// httpClient returns a copy of the configured client, without its Timeout and with
// care about redirects.
func (c *config) httpClient() *http.Client {
	client := defaultClient()
	if c.HTTPClient != nil {
		client = c.HTTPClient
	}
	own := follows(client, func(r *http.Request, via []*http.Request) error {
		switch last := via[len(via)-1]; {
		case r.Method != http.MethodPost:
			return http.ErrUseLastResponse // a GET would lose the body
		case last.URL.Scheme == "https" && r.URL.Scheme != "https":
			return insecure(r)
		}
		return nil
	})
	own.Timeout = 0
	return own
}

// follows returns a copy of a client with one more check of redirects, before its own one.
func follows(client *http.Client, check func(*http.Request, []*http.Request) error) *http.Client {
	own := *client
	own.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		switch err := check(r, via); {
		case err != nil:
			return err
		case client.CheckRedirect != nil:
			return client.CheckRedirect(r, via)
		case len(via) >= 10:
			return errors.New("stopped after 10 redirects")
		}
		return nil
	}
	return &own
}

// insecure returns the refusal of a redirect to r.
func insecure(r *http.Request) error {
	return errors.New("redirect from https to " + r.URL.Scheme)
}

// reserved are BOSH's own attributes of requests.
var reserved = []string{"rid", "sid", "ack", "key", "newkey", "type", "condition", "stream", "pause", "to", "from",
	"ver", "wait", "hold", "xmlns"}

// checkAttrs returns an error for bad further attributes. It does not check their
// names.
func checkAttrs(attrs []xml.Attr) error {
	for _, a := range attrs {
		if a.Name.Space == "" && slices.Contains(reserved, a.Name.Local) {
			return fmt.Errorf("attribute %s has a meaning to BOSH", a.Name.Local)
		}
		if !isText(a.Value) || !isText(a.Name.Space) {
			return fmt.Errorf("attribute %s is no text that XML can carry", a.Name.Local)
		}
	}
	return nil
}

// isText reports whether XML can carry s.
func isText(s string) bool {
	for _, c := range s {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == utf8.RuneError || c == 0xFFFE || c == 0xFFFF {
			return false
		}
	}
	return true
}
