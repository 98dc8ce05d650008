package boshtest

import (
	"cmp"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Config says how a [Client] talks to its server. The zero value of each field
// is the default named with it; only URL or Transport must be there.
type Config struct {
	// URL is where the server is. The default is http://bosh.test/, which
	// will do for a Transport that does not care.
	URL string

	// Transport carries the requests. The default is an [http.Transport] of
	// the client's own with as many connections as it may have requests open,
	// kept alive. A response's body must be whole or end with an error.
	Transport http.RoundTripper

	// Header is added to each request.
	Header http.Header

	// To is the domain. The default is the URL's host.
	To string

	// Lang is the language of the session. The default is "en".
	Lang string

	// XMPP sends xmpp:version='1.0' with the creation and with new streams.
	XMPP bool

	// Wait is how long the server may hold a request. The default is 60 s;
	// negative asks for a polling session by wait='0'. Whole seconds.
	Wait time.Duration

	// Hold is how many requests the server may hold. The default is 1;
	// negative asks for a polling session by hold='0'.
	Hold int

	// Ver is the version of the protocol. The default is "1.11"; "-" leaves
	// it out, which makes the client a legacy one.
	Ver string

	// Content is the media type to ask the server for.
	Content string

	// Attrs are further attributes of the creation request, as XML:
	// "from='a@example.com' secure='true'".
	Attrs string

	// Rid is the first request id. The default is random, below 2^52.
	Rid int64

	// Sid makes [Dial] go on with a session that exists, as a page does that
	// was reloaded or that got its session by prebind. Nothing is sent to
	// create it: Rid is that of the next request, and Wait and Hold are what
	// was granted. It does not go with Keys.
	Sid string

	// Acks makes the client acknowledge responses.
	Acks bool

	// Keys is the length of the key sequences that protect the session, at
	// least 2; a sequence used up is followed by a new one. The default is no
	// keys.
	Keys int

	// Manual keeps the client from sending empty requests by itself. What
	// the server has is then fetched by [Client.Poll] and on the answers to
	// what is sent.
	Manual bool

	// Batch is how many bytes of payload go into one request at most; a
	// larger element goes alone. The default is 64 KiB.
	Batch int

	// Queue is how many bytes of payload wait to be sent before Send blocks.
	// The default is 1 MiB.
	Queue int

	// Patience is how long the client waits for an answer before it gives up
	// the connection and repeats the request. The default is the granted wait
	// and 10 s on top.
	Patience time.Duration

	// Retries is how often a request is repeated at the most: when it fails
	// once more, the client gives the session up. The default is 10; with a
	// negative number nothing is repeated. The first repeat comes at once,
	// the others after a pause that grows from Backoff to 5 s. A server may
	// have a limit of its own, for which it counts all that reach it, also
	// those that the network has doubled.
	Retries int

	// Backoff is the pause before the second repeat of a request. The default
	// is 50 ms.
	Backoff time.Duration

	// Fault, if set, is put before the Transport. Its own Transport field is
	// ignored.
	Fault *Faults
}

// Granted is what the server said in its creation answer. A duration or
// number that it did not send is negative, and a text empty.
type Granted struct {
	Sid          string
	Wait         time.Duration
	Requests     int
	Hold         int
	Polling      time.Duration
	Inactivity   time.Duration
	MaxPause     time.Duration
	Ver          string
	From         string
	Accept       string
	Charsets     string
	AuthID       string
	Stream       string // name of the first stream
	Acks         bool   // the server acknowledges requests
	Version      string // xmpp:version
	RestartLogic bool

	// Body is the whole answer; nil for a session gone on with.
	Body *Body
}

// withDefaults fills in what can be said before the URL is parsed.
func (cfg Config) withDefaults() Config {
	cfg.URL = cmp.Or(cfg.URL, "http://bosh.test/")
	cfg.Lang = cmp.Or(cfg.Lang, "en")
	cfg.Ver = cmp.Or(cfg.Ver, "1.11")
	cfg.Wait = max(cmp.Or(cfg.Wait, 60*time.Second), 0)
	cfg.Hold = max(cmp.Or(cfg.Hold, 1), 0)
	cfg.Rid = cmp.Or(cfg.Rid, 1+rand.Int64N(1<<52))
	cfg.Batch = cmp.Or(cfg.Batch, 64<<10)
	cfg.Queue = cmp.Or(cfg.Queue, 1<<20)
	cfg.Retries = max(cmp.Or(cfg.Retries, 10), 0)
	cfg.Backoff = cmp.Or(cfg.Backoff, 50*time.Millisecond)
	return cfg
}

// creation returns the text of the request that creates the session.
func (cfg *Config) creation(u *url.URL, newkey string) []byte {
	b := []byte("<body")
	b = appendAttr(b, "rid", strconv.FormatInt(cfg.Rid, 10))
	b = appendAttr(b, "to", cmp.Or(cfg.To, u.Hostname()))
	b = appendAttr(b, "xml:lang", cfg.Lang)
	b = appendAttr(b, "wait", strconv.Itoa(int(cfg.Wait/time.Second)))
	b = appendAttr(b, "hold", strconv.Itoa(cfg.Hold))
	if cfg.Ver != "-" {
		b = appendAttr(b, "ver", cfg.Ver)
	}
	if cfg.Content != "" {
		b = appendAttr(b, "content", cfg.Content)
	}
	if cfg.Acks {
		b = appendAttr(b, "ack", "1")
	}
	if newkey != "" {
		b = appendAttr(b, "newkey", newkey)
	}
	if cfg.XMPP {
		b = appendAttr(b, "xmlns:xmpp", NSXMPP)
		b = appendAttr(b, "xmpp:version", "1.0")
	}
	if cfg.Attrs != "" {
		b = append(append(b, ' '), cfg.Attrs...)
	}
	b = appendAttr(b, "xmlns", NSBind)
	return append(b, "/>"...)
}

// granted reads the creation answer.
func granted(b *Body) Granted {
	number := func(name string) int {
		n, err := strconv.Atoi(b.Attr(name))
		if err != nil {
			return -1
		}
		return n
	}
	seconds := func(name string) time.Duration {
		return time.Duration(number(name)) * time.Second
	}
	logic := b.Attr("xmpp:restartlogic")
	_, acks := b.Lookup("ack")
	return Granted{
		Sid:          b.Attr("sid"),
		Wait:         seconds("wait"),
		Requests:     number("requests"),
		Hold:         number("hold"),
		Polling:      seconds("polling"),
		Inactivity:   seconds("inactivity"),
		MaxPause:     seconds("maxpause"),
		Ver:          b.Attr("ver"),
		From:         b.Attr("from"),
		Accept:       b.Attr("accept"),
		Charsets:     b.Attr("charsets"),
		AuthID:       b.Attr("authid"),
		Stream:       b.Attr("stream"),
		Acks:         acks,
		Version:      b.Attr("xmpp:version"),
		RestartLogic: logic == "true" || logic == "1",
		Body:         b,
	}
}

// attached stands for the creation answer of a session gone on with.
func (cfg *Config) attached() Granted {
	return Granted{
		Sid: cfg.Sid, Wait: cfg.Wait, Hold: cfg.Hold, Requests: cfg.Hold + 1,
		Polling: -1, Inactivity: -1, MaxPause: -1,
	}
}

// window is how many requests may be open at a time, and how far the newest
// may be from the oldest.
func (g *Granted) window() int64 {
	if g.Requests > 0 {
		return int64(g.Requests)
	}
	return int64(max(g.Hold, 1) + 1)
}

// polled reports whether the server holds no request.
func (g *Granted) polled() bool {
	return g.Wait == 0 || g.Hold == 0 || g.Requests == 1
}

// pollEvery is how long to wait after an empty answer in a polled session.
func (g *Granted) pollEvery() time.Duration {
	if g.Polling > 0 {
		return g.Polling
	}
	return time.Second
}
