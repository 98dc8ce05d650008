package edge

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Headers says what to set. The zero value lets pages of any origin in.
type Headers struct {
	// AllowOrigin reports whether pages of an origin are let in. If it is
	// nil, all are.
	AllowOrigin func(origin string) bool

	// NoCORS leaves that to somebody else.
	NoCORS bool
}

// The values are shared by all answers: nobody may change them in place.
var (
	noStore      = []string{"no-store"}
	noSniff      = []string{"nosniff"}
	sandbox      = []string{"sandbox; default-src 'none'; frame-ancestors 'none'"}
	anyOrigin    = []string{"*"}
	allowMethods = []string{"POST, OPTIONS"}
	allowHeaders = []string{"Content-Type"}
	maxAge       = []string{"7200"}
)

// Set sets the headers of the answer to a request with the method and the values
// of its Origin header. A body may echo what somebody else's page posted, so a
// browser must not take it for a document of ours.
func (h *Headers) Set(hd http.Header, method string, origin []string) {
	hd["Cache-Control"] = noStore
	hd["X-Content-Type-Options"] = noSniff
	hd["Content-Security-Policy"] = sandbox
	if h.NoCORS || !h.allow(hd, origin) || method != http.MethodOptions {
		return
	}
	hd["Access-Control-Allow-Methods"] = allowMethods
	hd["Access-Control-Allow-Headers"] = allowHeaders
	hd["Access-Control-Max-Age"] = maxAge
}

// Static reports whether all answers to POST have the same headers, and returns
// them as they are written, but for the Content-Type that belongs between the two.
func (h *Headers) Static() (before, after string, ok bool) {
	if h.AllowOrigin != nil && !h.NoCORS {
		return "", "", false
	}
	hd := make(http.Header)
	h.Set(hd, http.MethodPost, nil)
	for _, name := range slices.Sorted(maps.Keys(hd)) {
		line := name + ": " + hd[name][0] + "\r\n"
		if name < "Content-Type" {
			before += line
		} else {
			after += line
		}
	}
	return before, after, true
}

// allow lets a page of origin in, if it may.
func (h *Headers) allow(hd http.Header, origin []string) bool {
	if h.AllowOrigin == nil {
		hd["Access-Control-Allow-Origin"] = anyOrigin
		return true
	}
	hd.Add("Vary", "Origin")
	if len(origin) != 1 || !h.AllowOrigin(origin[0]) {
		return false
	}
	hd["Access-Control-Allow-Origin"] = origin
	return true
}

// Foreign reports whether r comes from a page that is not let in. Withheld
// headers keep such a page from reading the answer, not from having its request
// served, with the user's cookies perhaps.
func (h *Headers) Foreign(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if h.NoCORS || h.AllowOrigin == nil || origin == "" || h.AllowOrigin(origin) {
		return false
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		return site != "same-origin" && site != "none"
	}
	u, err := url.Parse(origin)
	return err != nil || !strings.EqualFold(u.Host, r.Host)
}
