// Package hostmeta makes the documents by which XMPP clients find the endpoints
// of a domain other than plain TCP (XEP-0156, RFC 6415).
package hostmeta

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"unicode/utf8"

	"github.com/gobosh/bosh/internal/xmlscan"
)

// The relations of XEP-0156.
const (
	BOSH      = "urn:xmpp:alt-connections:xbosh"
	WebSocket = "urn:xmpp:alt-connections:websocket"
)

// A Link is one link of a domain's host-meta document.
type Link struct {
	// Rel is what the link is for: [LinkBOSH], [LinkWebSocket], or any
	// other relation, as "lrdd".
	Rel string `json:"rel"`

	// Type is the media type of the link's target, if worth telling.
	Type string `json:"type,omitempty"`

	// Href is the absolute URL, and Template one with a variable in it, as
	// "https://example.com/who?{uri}". A link has one of them.
	Href     string `json:"href,omitempty"`
	Template string `json:"template,omitempty"`
}

// check returns the fault in l.
func (l *Link) check() error {
	if l.Rel == "" {
		return errors.New("no relation")
	}
	for _, s := range []string{l.Rel, l.Type, l.Href, l.Template} {
		if !fit(s) {
			return fmt.Errorf("%q cannot be written as XML", s)
		}
	}
	if (l.Href == "") == (l.Template == "") {
		return errors.New("neither or both of Href and Template")
	}
	u, err := url.Parse(l.Href + l.Template)
	if err != nil {
		return err
	}
	switch {
	case u.Host == "":
		return fmt.Errorf("%q is not an absolute URL", u)
	case l.Rel == BOSH && u.Scheme == "https", l.Rel == WebSocket && u.Scheme == "wss":
		return nil
	case l.Rel != BOSH && l.Rel != WebSocket && (u.Scheme == "https" || u.Scheme == "wss"):
		return nil
	}
	return fmt.Errorf("%q has not the scheme of a secure endpoint", u)
}

// fit reports whether XML can carry the text s.
func fit(s string) bool {
	for _, c := range s {
		if c < ' ' || c == utf8.RuneError || c == 0xFFFE || c == 0xFFFF {
			return false
		}
	}
	return true
}

// A Handler serves the documents. It must be made by New.
type Handler struct {
	secure func(*http.Request) bool
	docs   map[string]document // by path
}

type document struct {
	contentType string
	body        []byte
}

// New returns a Handler of links, for requests that are secure.
func New(secure func(*http.Request) bool, links []Link) (*Handler, error) {
	if len(links) == 0 {
		return nil, errors.New("no links")
	}
	for i := range links {
		if err := links[i].check(); err != nil {
			return nil, fmt.Errorf("link %d, %s: %w", i, links[i].Rel, err)
		}
	}
	asJSON, err := json.Marshal(struct {
		Links []Link `json:"links"`
	}{links})
	if err != nil {
		return nil, err
	}
	return &Handler{secure: secure, docs: map[string]document{
		"/.well-known/host-meta":      {"application/xrd+xml; charset=utf-8", appendXRD(nil, links)},
		"/.well-known/host-meta.json": {"application/json", asJSON},
	}}, nil
}

func appendXRD(b []byte, links []Link) []byte {
	b = append(b, "<?xml version='1.0' encoding='utf-8'?>\n<XRD xmlns='http://docs.oasis-open.org/ns/xri/xrd-1.0'>\n"...)
	for _, l := range links {
		b = append(b, "  <Link"...)
		for _, a := range [...]struct{ name, value string }{
			{"rel", l.Rel}, {"type", l.Type}, {"href", l.Href}, {"template", l.Template},
		} {
			if a.value != "" {
				b = append(append(append(b, ' '), a.name...), "='"...)
				b = append(xmlscan.AppendEscaped(b, a.value), '\'')
			}
		}
		b = append(b, "/>\n"...)
	}
	return append(b, "</XRD>\n"...)
}

// ServeHTTP serves the documents, and 404 for all else.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	doc, ok := h.docs[r.URL.Path]
	if !ok || !h.secure(r) {
		http.NotFound(w, r)
		return
	}
	hd := w.Header()
	hd.Set("Access-Control-Allow-Origin", "*")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		hd.Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	hd.Set("Content-Type", doc.contentType)
	hd.Set("Content-Length", strconv.Itoa(len(doc.body)))
	hd.Set("X-Content-Type-Options", "nosniff")
	if r.Method == http.MethodGet {
		w.Write(doc.body)
	}
}
